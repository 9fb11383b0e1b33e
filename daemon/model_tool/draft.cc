#include "daemon/engine/draft_runner.h"
#include "daemon/model_tool/commands.h"
#include "daemon/model_tool/float_file.h"

namespace facet::model_tool {

Result<void> draft(const DraftOptions& options) {
  FACET_TRY(auto target, model::Model::load(options.target));
  FACET_TRY(auto drafter, model::Drafter::load(options.drafter, target));
  FACET_TRY(Ids ids, parse_ids(options.ids));
  FACET_CHECK(check_tokens(*target, ids));
  EvaluationSize size;
  size.positions = size.chunk = static_cast<uint32_t>(ids.size());
  size.rows = size.chunk;
  size.selected = 1;
  FACET_TRY(auto evaluation, Evaluation::create(target, options.compute, size));
  FACET_TRY(auto runner,
            engine::DraftRunner::create(evaluation->device(), drafter, options.compute.cache_type, 1));
  FACET_TRY(FloatFile file, FloatFile::create(options.out));

  const Part part{0, ids, Select::kLast};
  evaluation->step({&part, 1});
  std::vector<float> logits(target->config().vocabulary), hidden(target->config().embedding);
  evaluation->read_logits(0, 1, logits);
  evaluation->read_hidden(0, 1, hidden);
  for (uint32_t i = 0; i < options.count; ++i) {
    evaluation->draft(runner, 0, greedy(logits), hidden);
    runner.read_logits(0, 1, logits);
    runner.read_hidden(0, 1, hidden);
    FACET_CHECK(file.write_row(i, logits));
  }
  return {};
}

}  // namespace facet::model_tool
