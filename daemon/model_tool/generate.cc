#include <algorithm>
#include <cstdio>
#include <limits>

#include "daemon/model_tool/commands.h"

namespace facet::model_tool {

Result<void> generate(const GenerateOptions& options) {
  FACET_TRY(auto model, model::Model::load(options.file));
  FACET_TRY(Ids ids, parse_ids(options.ids));
  FACET_CHECK(check_tokens(*model, ids));
  // The last token is not fed.
  const EvaluationSize size = one_sequence(static_cast<uint32_t>(ids.size()) + options.count - 1);
  FACET_TRY(auto evaluation, Evaluation::create(std::move(model), options.compute, size));

  for (size_t start = 0; start < ids.size(); start += kPromptRows) {
    const size_t rows = std::min(size_t{kPromptRows}, ids.size() - start);
    const Select select = start + rows == ids.size() ? Select::kLast : Select::kNone;
    const Part part{0, std::span(ids).subspan(start, rows), select};
    evaluation->step({&part, 1});
    evaluation->retire(0);
  }
  std::vector<float> row(evaluation->model().config().vocabulary);
  for (uint32_t i = 0; i < options.count; ++i) {
    evaluation->read_logits(0, 1, row);
    for (text::Token suppressed : evaluation->model().tokenizer().vocabulary().suppressed()) {
      row[static_cast<size_t>(suppressed)] = -std::numeric_limits<float>::infinity();
    }
    const text::Token token = greedy(row);
    std::printf(i == 0 ? "%d" : " %d", token);
    if (i + 1 == options.count) break;
    const Part part{0, {&token, 1}, Select::kLast};
    evaluation->step({&part, 1});
    evaluation->retire(0);
  }
  std::printf("\n");
  return {};
}

}  // namespace facet::model_tool
