#include <algorithm>
#include <cmath>
#include <cstdio>

#include "daemon/base/mapped_file.h"
#include "daemon/model_tool/commands.h"

namespace facet::model_tool {
namespace {

constexpr uint32_t kChunk = 64;  // rows per step: bounds the memory of their logits

// -log of what softmax(row) gives to `token`.
double surprise(std::span<const float> row, text::Token token) {
  const float largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (float logit : row) sum += std::exp(static_cast<double>(logit - largest));
  return std::log(sum) - static_cast<double>(row[static_cast<size_t>(token)] - largest);
}

}  // namespace

// The text is cut into windows of `context` tokens, what is left at the end counts not. In each the first
// token is replaced by BOS, and the tokens of the second half are scored, but for its first.
Result<void> perplexity(const PerplexityOptions& options) {
  FACET_TRY(auto model, model::Model::load(options.file));
  FACET_TRY(MappedFile text, MappedFile::open(options.text));
  const std::string_view bytes(reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size());
  const text::Vocabulary& vocabulary = model->tokenizer().vocabulary();
  const bool bos = vocabulary.add_bos() && vocabulary.bos();
  auto tokens = model->tokenizer().encode(bytes, {.special = false, .bos = bos});
  if (!tokens.ok()) return Error{tokens.error().code, options.text + ": " + tokens.error().message};
  const size_t context = options.context;
  if (tokens->size() < context) {
    return Error{FACET_INVALID_ARGUMENT, options.text + ": " + std::to_string(tokens->size()) +
                                             " tokens are less than one window of " +
                                             std::to_string(context)};
  }

  EvaluationSize size;
  size.positions = options.context;
  size.chunk = std::min(kChunk, options.context);
  size.rows = size.selected = size.chunk;
  FACET_TRY(auto evaluation, Evaluation::create(model, options.compute, size));
  double sum = 0;
  uint64_t scored = 0;
  for (size_t start = 0; start + context <= tokens->size(); start += context) {
    std::vector<Ids> window{Ids(tokens->begin() + static_cast<ptrdiff_t>(start),
                                tokens->begin() + static_cast<ptrdiff_t>(start + context))};
    if (bos) window[0][0] = *vocabulary.bos();
    FACET_CHECK(evaluate_all(*evaluation, window, size.chunk, options.context / 2,
                             [&](uint32_t, uint32_t position, std::span<const float> row) -> Result<void> {
                               if (position + 1 == context) return {};
                               sum += surprise(row, window[0][position + 1]);
                               ++scored;
                               return {};
                             }));
    evaluation->restart(0);
  }
  std::printf("PPL = %.4f\n", std::exp(sum / static_cast<double>(scored)));
  return {};
}

}  // namespace facet::model_tool
