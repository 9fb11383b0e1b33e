#include <algorithm>

#include "daemon/model_tool/commands.h"
#include "daemon/model_tool/float_file.h"

namespace facet::model_tool {

Result<void> logits(const LogitsOptions& options) {
  FACET_TRY(auto model, model::Model::load(options.file));
  std::vector<Ids> prompts;
  std::vector<uint64_t> first_row;  // in the file, of each prompt
  uint64_t rows = 0;
  size_t longest = 0;
  for (const std::string& text : options.ids) {
    FACET_TRY(Ids ids, parse_ids(text));
    FACET_CHECK(check_tokens(*model, ids));
    longest = std::max(longest, ids.size());
    first_row.push_back(rows);
    rows += ids.size();
    prompts.push_back(std::move(ids));
  }
  EvaluationSize size;
  size.sequences = static_cast<uint32_t>(prompts.size());
  size.positions = static_cast<uint32_t>(longest);
  size.chunk = options.chunk == 0 ? size.positions : std::min(options.chunk, size.positions);
  size.rows = size.selected = uint64_t{size.sequences} * size.chunk;
  FACET_TRY(auto evaluation, Evaluation::create(std::move(model), options.compute, size));

  FACET_TRY(FloatFile file, FloatFile::create(options.out));
  return evaluate_all(*evaluation, prompts, size.chunk, 0,
                      [&](uint32_t sequence, uint32_t position, std::span<const float> row) {
                        return file.write_row(first_row[sequence] + position, row);
                      });
}

}  // namespace facet::model_tool
