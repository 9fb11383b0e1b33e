#include "daemon/engine/draft_runner.h"

#include "daemon/engine/runner.h"

namespace facet::engine {

Result<DraftRunner> DraftRunner::create(plugins::Device& device,
                                        std::shared_ptr<const model::Drafter> drafter, facet_type cache_type,
                                        uint32_t max_rows) {
  FACET_TRY(plugins::Program program, device.create_program(drafter->program().desc(cache_type)));
  FACET_TRY(plugins::Context context, program.create_context(max_rows, max_rows));
  return DraftRunner(std::move(drafter), std::move(program), std::move(context));
}

DraftRunner::DraftRunner(std::shared_ptr<const model::Drafter> drafter, plugins::Program program,
                         plugins::Context context)
    : drafter_(std::move(drafter)), program_(std::move(program)), context_(std::move(context)) {}

void DraftRunner::run(const Batch& batch, std::span<const float> hidden, const plugins::Cache& target_cache) {
  const facet_rows rows = batch.rows();
  facet_input input{};
  input.size = sizeof input;
  input.port = drafter_->program().find_input(model::kHidden).value();
  input.data = hidden.data();
  facet_submit submit{};
  submit.size = sizeof submit;
  submit.first_cut = 0;
  submit.last_cut = static_cast<uint32_t>(program_.cuts().size()) - 1;
  submit.rows = &rows;
  submit.cache = target_cache.handle();
  submit.sequence_count = batch.sequence_count();
  submit.tables = batch.tables().data();
  submit.input_count = 1;
  submit.inputs = &input;
  auto fence = context_.submit(submit);
  if (!fence.ok()) device_failed(fence.error());
  if (auto done = context_.wait(*fence); !done.ok()) device_failed(done.error());
}

void DraftRunner::read_logits(uint32_t first, uint32_t rows, std::span<float> logits) {
  read(model::kLogits, first, rows, logits);
}

void DraftRunner::read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden) {
  read(model::kHidden, first, rows, hidden);
}

void DraftRunner::read(const char* output, uint32_t first, uint32_t rows, std::span<float> values) {
  const uint32_t port = drafter_->program().find_output(output).value();
  if (auto done = context_.read_output(port, first, rows, values); !done.ok()) device_failed(done.error());
}

}  // namespace facet::engine
