#include "daemon/engine/runner.h"

#include <algorithm>
#include <stdexcept>

namespace facet::engine {
namespace {

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
  FACET_TRY(plugins::Program made, device.create_program(desc));
  auto program = std::make_unique<plugins::Program>(std::move(made));
  FACET_TRY(RunnerBytes bytes, bytes_of(device, *program, *model, options));
  FACET_TRY(plugins::Cache cache, device.create_cache(*desc.cache, options.pages));
  std::vector<Place> places;
  for (uint32_t i = 0; i < options.places; ++i) {
    FACET_TRY(plugins::Context context, program->create_context(options.max_rows, options.max_selected));
    places.push_back({std::move(context)});
  }
  Runner runner(std::move(model), std::move(program), std::move(cache), std::move(places), bytes,
                options.max_rows, options.slice_micros);
  runner.packed_ = std::make_unique<PackedWeights>(*runner.program_, runner.model().file(),
                                                   device.backend_name(), options.packing);
  return runner;
}

Result<RunnerBytes> Runner::bytes_of(plugins::Device& device, const plugins::Program& program,
                                     const model::Model& model, const RunnerOptions& options) {
  RunnerBytes bytes;
  bytes.weights_private = program.private_bytes();
  FACET_TRY(bytes.cache, device.cache_bytes(*model.program().desc(options.cache_type).cache, options.pages));
  FACET_TRY(uint64_t context, program.context_bytes(options.max_rows, options.max_selected));
  bytes.scratch = context * options.places;
  if (const model::GgufTensor* table = model.family().per_layer_table) {
    bytes.scratch += TokenRows::bytes(*table, options.max_rows);
  }
  return bytes;
}

Runner::Runner(std::shared_ptr<const model::Model> model, std::unique_ptr<plugins::Program> program,
               plugins::Cache cache, std::vector<Place> places, RunnerBytes bytes, uint32_t max_rows,
               Micros slice_micros)
    : model_(std::move(model)),
      per_layer_(per_layer_rows(*model_, max_rows)),
      program_(std::move(program)),
      cache_(std::move(cache)),
      places_(std::move(places)),
      bytes_(bytes),
      max_rows_(max_rows),
      costs_(slice_micros) {}

void Runner::begin(uint32_t place, Batch& batch) {
  places_[place].batch = &batch;
  places_[place].cut = 0;
  places_[place].took = 0;
}

bool Runner::over(uint32_t place) const {
  const Place& its = places_[place];
  return its.batch == nullptr || its.cut == last_cut() || its.batch->live_rows() == 0;
}

Micros Runner::slice(uint32_t place) {
  Place& its = places_[place];
  Batch& batch = *its.batch;
  const facet_rows rows = batch.rows();
  facet_submit submit{};
  submit.size = sizeof submit;
  submit.first_cut = its.cut;
  submit.last_cut = costs_.slice_end(batch.live_rows(), its.cut, last_cut());
  submit.rows = &rows;
  submit.cache = cache_.handle();
  submit.sequence_count = batch.sequence_count();
  submit.tables = batch.tables().data();

  const Micros start = now_micros();
  facet_input input{};
  if (per_layer_ && its.cut == 0) {
    input = per_layer_->fill(batch.tokens());
    submit.input_count = 1;
    submit.inputs = &input;
  }
  auto fence = its.context.submit(submit);
  if (!fence.ok()) device_failed(fence.error());
  if (auto done = its.context.wait(*fence); !done.ok()) device_failed(done.error());
  const Micros end = now_micros(), took = end - start;
  costs_.slice(batch.live_rows(), its.cut, submit.last_cut, took);
  its.cut = submit.last_cut;
  its.took += took;
  // What a run took that lost rows on its way says little of any size.
  if (its.cut == last_cut() && batch.live_rows() == batch.row_count()) {
    costs_.run(batch.row_count(), its.took, end);
  }
  return took;
}

void Runner::run(Batch& batch) {
  begin(0, batch);
  while (!over(0)) slice(0);
}

void Runner::read_logits(uint32_t first, uint32_t rows, std::span<float> logits, uint32_t place) {
  read(place, 0, first, rows, logits);
}

void Runner::read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden, uint32_t place) {
  read(place, model_->program().find_output(model::kHidden).value(), first, rows, hidden);
}

void Runner::read(uint32_t place, uint32_t port, uint32_t first, uint32_t rows, std::span<float> values) {
  auto done = places_[place].context.read_output(port, first, rows, values);
  if (!done.ok()) device_failed(done.error());
}

}  // namespace facet::engine
