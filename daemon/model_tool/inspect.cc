#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "daemon/engine/cache_plan.h"
#include "daemon/engine/engine.h"
#include "daemon/model/vocabulary_gguf.h"
#include "daemon/model_tool/commands.h"
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

// What one sequence of `context` positions takes, and a step of an engine with its own defaults.
Result<json> describe_memory(const model::Model& model, const ComputeOptions& compute, uint32_t context) {
  const engine::EngineOptions engine;
  json groups = json::array();
  uint64_t cache = 0;
  for (uint32_t group = 0; group < model.windows().size(); ++group) {
    const uint32_t pages = engine::pages_needed(model.windows()[group], context, engine.chunk);
    const uint64_t bytes = pages * engine::page_bytes(model.program(), group, compute.cache_type);
    groups.push_back({{"window", model.windows()[group]}, {"pages", pages}, {"bytes", bytes}});
    cache += bytes;
  }
  FACET_TRY(plugins::Device device, plugins::open_device(compute.backend, compute.threads));
  FACET_TRY(plugins::Program program, device.create_program(model.program().desc(compute.cache_type)));
  const uint32_t rows = engine.chunk + engine.max_sequences;
  FACET_TRY(uint64_t scratch, program.context_bytes(rows, engine.max_sequences));
  return json{{"numerics", device.numerics()},
              {"cache_type", compute.cache_type == FACET_TYPE_F32 ? "f32" : "f16"},
              {"cache_context", context},
              {"cache_bytes", cache},
              {"cache_groups", std::move(groups)},
              {"scratch_rows", rows},
              {"scratch_bytes", scratch},
              {"weights_private_bytes", program.private_bytes()}};
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
  FACET_TRY(text::Vocabulary vocabulary, model::read_vocabulary(file));
  json report = describe(file);
  FACET_TRY(report["tokenizer"], describe(file, vocabulary));
  std::string program;
  if (!file.tensors().empty()) {
    FACET_TRY(auto model, model::Model::load(options.file));
    const model::Config& config = model->config();
    report["model"] = describe(config);
    for (size_t i = 0; i < config.layers.size(); ++i) {
      report["layers"].push_back(describe(config.layers[i], model->program().cache_layers()));
    }
    uint32_t context = options.context == 0 ? std::min(config.context, kDefaultContext) : options.context;
    FACET_TRY(report["memory"], describe_memory(*model, options.compute, context));
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
