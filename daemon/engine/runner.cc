#include "daemon/engine/runner.h"

#include <algorithm>
#include <bit>
#include <stdexcept>

namespace facet::engine {
namespace {

// How long a slice should last. Long against the cost of a submit (tens of microseconds), short against what
// a person notices.
constexpr Micros kSliceMicros = 4000;

size_t bucket(uint32_t rows) {
  return std::min<size_t>(std::bit_width(rows), 16);
}

std::optional<TokenRows> per_layer_rows(const model::Model& model, uint32_t max_rows) {
  const auto port = model.program().find_input(model::kPerLayerEmbedding);
  if (!port) return std::nullopt;
  return TokenRows(*model.family().per_layer_table, *port, max_rows);
}

}  // namespace

void device_failed(const Error& error) {
  throw std::runtime_error(std::string("the backend failed: ") + facet_status_name(error.code) + ": " +
                           error.message);
}

Result<Runner> Runner::create(plugins::Device& device, std::shared_ptr<const model::Model> model,
                              const RunnerOptions& options) {
  const facet_program_desc desc = model->program().desc(options.cache_type);
  FACET_TRY(plugins::Program program, device.create_program(desc));
  FACET_TRY(RunnerBytes bytes, bytes_of(device, program, *model, options));
  FACET_TRY(plugins::Cache cache, device.create_cache(*desc.cache, options.pages));
  FACET_TRY(plugins::Context context, program.create_context(options.max_rows, options.max_selected));
  return Runner(std::move(model), std::move(program), std::move(cache), std::move(context), bytes,
                options.max_rows);
}

Result<RunnerBytes> Runner::bytes_of(plugins::Device& device, const plugins::Program& program,
                                     const model::Model& model, const RunnerOptions& options) {
  RunnerBytes bytes;
  bytes.weights_private = program.private_bytes();
  FACET_TRY(bytes.cache, device.cache_bytes(*model.program().desc(options.cache_type).cache, options.pages));
  FACET_TRY(bytes.scratch, program.context_bytes(options.max_rows, options.max_selected));
  if (const model::GgufTensor* table = model.family().per_layer_table) {
    bytes.scratch += TokenRows::bytes(*table, options.max_rows);
  }
  return bytes;
}

Runner::Runner(std::shared_ptr<const model::Model> model, plugins::Program program, plugins::Cache cache,
               plugins::Context context, RunnerBytes bytes, uint32_t max_rows)
    : model_(std::move(model)),
      per_layer_(per_layer_rows(*model_, max_rows)),
      program_(std::move(program)),
      cache_(std::move(cache)),
      context_(std::move(context)),
      bytes_(bytes),
      max_rows_(max_rows) {}

void Runner::run(Batch& batch, const std::function<void()>& between) {
  const uint32_t last = static_cast<uint32_t>(program_.cuts().size()) - 1;
  facet_input input{};
  if (per_layer_) input = per_layer_->fill(batch.tokens());
  for (uint32_t cut = 0; cut < last && batch.live_rows() > 0;) {
    const uint32_t end = slice_end(cut, batch.row_count());
    const facet_rows rows = batch.rows();
    facet_submit submit{};
    submit.size = sizeof submit;
    submit.first_cut = cut;
    submit.last_cut = end;
    submit.rows = &rows;
    submit.cache = cache_.handle();
    submit.sequence_count = batch.sequence_count();
    submit.tables = batch.tables().data();
    submit.input_count = per_layer_ ? 1 : 0;
    submit.inputs = &input;

    const Micros start = now_micros();
    auto fence = context_.submit(submit);
    if (!fence.ok()) device_failed(fence.error());
    if (auto done = context_.wait(*fence); !done.ok()) device_failed(done.error());
    learn(end - cut, batch.row_count(), now_micros() - start);
    cut = end;
    between();
  }
}

void Runner::read_logits(uint32_t first, uint32_t rows, std::span<float> logits) {
  read(0, first, rows, logits);
}

void Runner::read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden) {
  read(model_->program().find_output(model::kHidden).value(), first, rows, hidden);
}

void Runner::read(uint32_t port, uint32_t first, uint32_t rows, std::span<float> values) {
  if (auto done = context_.read_output(port, first, rows, values); !done.ok()) device_failed(done.error());
}

uint32_t Runner::slice_end(uint32_t first, uint32_t rows) const {
  const uint32_t last = static_cast<uint32_t>(program_.cuts().size()) - 1;
  const double cost = micros_per_cut_[bucket(rows)];
  const uint32_t cuts = cost == 0 ? 1 : static_cast<uint32_t>(std::clamp(kSliceMicros / cost, 1.0, 1e6));
  return std::min(last, first + cuts);
}

void Runner::learn(uint32_t cuts, uint32_t rows, Micros took) {
  double& known = micros_per_cut_[bucket(rows)];
  const double now = static_cast<double>(std::max<Micros>(took, 1)) / cuts;
  known = known == 0 ? now : 0.9 * known + 0.1 * now;
}

}  // namespace facet::engine
