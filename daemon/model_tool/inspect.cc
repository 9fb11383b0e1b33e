#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "daemon/engine/cache_plan.h"
#include "daemon/engine/engine.h"
#include "daemon/model/vocabulary_gguf.h"
#include "daemon/model_tool/commands.h"
#include "daemon/model_tool/process_memory.h"
#include "daemon/model_tool/work.h"
#include "plugins/host/discovery.h"

namespace facet::model_tool {
namespace {

using json = nlohmann::ordered_json;

constexpr uint32_t kDefaultContext = 8192;

json describe(const model::GgufFile& file) {
  struct Sum {
    uint64_t tensors = 0, bytes = 0;
  };
  std::map<std::string_view, Sum> types;
  uint64_t bytes = 0;
  for (const model::GgufTensor& tensor : file.tensors()) {
    Sum& sum = types[model::block_format(tensor.type)->name];
    ++sum.tensors;
    sum.bytes += tensor.data.size();
    bytes += tensor.data.size();
  }
  json list = json::array();
  for (const auto& [name, sum] : types) {
    list.push_back({{"type", name}, {"tensors", sum.tensors}, {"bytes", sum.bytes}});
  }
  return {{"file", file.path()},
          {"file_bytes", file.file_bytes()},
          {"gguf_version", file.version()},
          {"tensors", file.tensors().size()},
          {"weights_bytes", bytes},
          {"types", std::move(list)}};
}

Result<json> describe(const model::GgufFile& file, const text::Vocabulary& vocabulary) {
  FACET_TRY(std::string_view kind, file.string("tokenizer.ggml.model"));
  auto id = [](std::optional<text::Token> token) { return token ? json(*token) : json(nullptr); };
  return json{{"kind", kind},
              {"tokens", vocabulary.size()},
              {"bos", id(vocabulary.bos())},
              {"eos", id(vocabulary.eos())},
              {"end_of_generation", vocabulary.end_of_generation()},
              {"add_bos", vocabulary.add_bos()}};
}

json describe(const model::Config& config) {
  return {{"family", config.family},
          {"name", config.name},
          {"context", config.context},
          {"embedding", config.embedding},
          {"vocabulary", config.vocabulary},
          {"window", config.window},
          {"norm_eps", config.norm_eps},
          {"attention_scale", config.attention_scale},
          {"soft_cap", config.soft_cap},
          {"experts", config.experts},
          {"experts_used", config.experts_used},
          {"expert_feed_forward", config.expert_feed_forward},
          {"per_layer_embedding", config.per_layer_embedding}};
}

json describe(const model::LayerConfig& layer, const std::vector<facet_cache_layer>& caches) {
  return {{"kind", layer.sliding ? "sliding" : "global"},
          {"heads", layer.heads},
          {"kv_heads", layer.kv_heads},
          {"head_dim", layer.head_dim},
          {"feed_forward", layer.feed_forward},
          {"rope_dims", layer.rope_dims},
          {"rope_base", layer.rope_base},
          {"rope_scale", layer.rope_freq_scale},
          {"cache_layer", layer.cache_layer},
          {"owns_cache", layer.owns_cache},
          {"cache_group", caches[layer.cache_layer].group}};
}

// Bytes that are mapped, and of these the table of which only the rows of a text's tokens are read.
json describe_weights(const model::Model& model, uint64_t bytes) {
  const model::GgufTensor* table = model.family().per_layer_table;
  return {{"weights_mapped_bytes", bytes}, {"weights_by_row_bytes", table ? table->data.size() : 0}};
}

// What one sequence of `context` positions takes, once all of it has been read, beside the mapped weights;
// and what a daemon with its own settings takes at most.
Result<json> describe_memory(const model::Model& model, const ComputeOptions& compute, uint32_t context) {
  FACET_TRY(plugins::Device device, plugins::open_device(compute.backend, compute.threads));
  FACET_TRY(plugins::Program program, device.create_program(model.program().desc(compute.cache_type)));
  const EvaluationSize size = one_sequence(context);
  engine::RunnerOptions options;
  options.cache_type = compute.cache_type;
  options.max_rows = static_cast<uint32_t>(size.rows);
  options.max_selected = 1;
  json groups = json::array();
  for (uint32_t group = 0; group < model.windows().size(); ++group) {
    const uint32_t window = model.windows()[group];
    const uint32_t pages = engine::pages_needed(window, size.positions, size.chunk);
    const uint64_t bytes = pages * engine::page_bytes(model.program(), group, compute.cache_type);
    groups.push_back({{"window", window}, {"pages", pages}, {"bytes", bytes}});
    options.pages.push_back(pages);
  }
  FACET_TRY(engine::RunnerBytes bytes, engine::Runner::bytes_of(device, program, model, options));
  FACET_TRY(ProcessMemory opened, process_memory(model.file()));

  const engine::EngineOptions daemon;
  options.max_rows = daemon.chunk + daemon.max_sequences;
  options.max_selected = daemon.max_sequences;
  FACET_TRY(engine::RunnerBytes most, engine::Runner::bytes_of(device, program, model, options));
  return json{{"numerics", device.numerics()},
              {"cache_type", engine::cache_type_name(compute.cache_type)},
              {"cache_context", context},
              {"cache_bytes", bytes.cache},
              {"cache_groups", std::move(groups)},
              {"scratch_rows", size.rows},
              {"scratch_bytes", bytes.scratch},
              {"weights_private_bytes", bytes.weights_private},
              {"weights_packed_bytes", program.packed_bytes()},
              {"opened_bytes", opened.private_bytes},
              {"private_bytes", opened.private_bytes + bytes.cache + bytes.scratch},
              {"daemon_cache_bytes", daemon.cache_bytes},
              {"daemon_scratch_bytes", most.scratch}};
}

// The copy's file, once its content has been found to be what was written.
Result<std::string> verify_packed(const model::Model& model, const ComputeOptions& compute) {
  FACET_TRY(plugins::Device device, plugins::open_device(compute.backend, compute.threads));
  FACET_TRY(plugins::Program program, device.create_program(model.program().desc(compute.cache_type)));
  const std::string folder = engine::packed_weights_folder(compute.packed_weights);
  if (folder.empty()) return Error{FACET_INVALID_ARGUMENT, "--verify needs a folder: --packed-weights"};
  std::string path = engine::packed_weights_path(folder, model.file(), device.backend_name());
  if (path.empty()) return Error{FACET_UNSUPPORTED, model.file().path() + ": has no copies"};
  FACET_CHECK(program.verify_packed(path));
  return path;
}

json describe(const Work& work) {
  json caches = json::array();
  for (const auto& [window, bytes] : work.cache_bytes) {
    caches.push_back({{"window", window}, {"bytes_per_position", bytes}});
  }
  return {{"dense_bytes", work.dense_bytes},
          {"experts_bytes", work.experts_bytes},
          {"expert_choices", work.expert_choices},
          {"experts_chosen", work.experts_chosen},
          {"row_macs", work.row_macs},
          {"selected_macs", work.selected_macs},
          {"cache_reads", std::move(caches)}};
}

Result<void> describe(const model::Model& model, const InspectOptions& options, json& report) {
  const model::Config& config = model.config();
  report["model"] = describe(config);
  for (const model::LayerConfig& layer : config.layers) {
    report["layers"].push_back(describe(layer, model.program().cache_layers()));
  }
  const uint32_t context = options.context == 0 ? std::min(config.context, kDefaultContext) : options.context;
  FACET_TRY(report["memory"], describe_memory(model, options.compute, context));
  if (options.verify) {
    FACET_TRY(report["packed_weights_verified"], verify_packed(model, options.compute));
  }
  report["memory"].update(describe_weights(model, report["weights_bytes"]));
  report["work"] = describe(work_of(model.program().desc(options.compute.cache_type)));
  return {};
}

std::string text_of(const json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

// A list of objects with the same keys, as a table under their names.
void print_table(const std::string& title, const json& rows) {
  std::printf("\n%s\n", title.c_str());
  if (rows.empty()) return;
  for (const auto& [key, value] : rows.front().items()) std::printf(" %13s", key.c_str());
  std::printf("\n");
  for (const json& row : rows) {
    for (const auto& [key, value] : row.items()) std::printf(" %13s", text_of(value).c_str());
    std::printf("\n");
  }
}

void print(const json& report) {
  for (const auto& [key, value] : report.items()) {
    if (value.is_object()) {
      std::printf("\n%s\n", key.c_str());
      for (const auto& [name, part] : value.items()) {
        if (!part.is_array() || part.empty() || !part.front().is_object()) {
          std::printf("  %-22s %s\n", name.c_str(), text_of(part).c_str());
        }
      }
      for (const auto& [name, part] : value.items()) {
        if (part.is_array() && !part.empty() && part.front().is_object()) print_table(name, part);
      }
    } else if (value.is_array()) {
      print_table(key, value);
    } else {
      std::printf("%-24s %s\n", key.c_str(), text_of(value).c_str());
    }
  }
}

}  // namespace

Result<void> inspect(const InspectOptions& options) {
  FACET_TRY(model::GgufFile file, model::GgufFile::open(options.file));
  json report = describe(file);
  std::string program;
  if (file.tensors().empty()) {
    if (options.verify) return Error{FACET_INVALID_ARGUMENT, options.file + ": has no weights to verify"};
    FACET_TRY(text::Vocabulary vocabulary, model::read_vocabulary(file));
    FACET_TRY(report["tokenizer"], describe(file, vocabulary));
  } else {
    FACET_TRY(auto model, model::Model::load(std::move(file)));
    FACET_TRY(report["tokenizer"], describe(model->file(), model->tokenizer().vocabulary()));
    FACET_CHECK(describe(*model, options, report));
    if (options.program) program = model->program().print();
  }
  if (options.json) {
    if (options.program) report["program"] = program;
    std::printf("%s\n", report.dump(-1, ' ', false, json::error_handler_t::replace).c_str());
    return {};
  }
  print(report);
  if (options.program) std::printf("\nprogram\n%s", program.c_str());
  return {};
}

}  // namespace facet::model_tool
