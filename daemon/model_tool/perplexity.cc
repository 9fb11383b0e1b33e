#include "daemon/model_tool/perplexity.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "daemon/base/mapped_file.h"
#include "daemon/model_tool/commands.h"

namespace facet::model_tool {
namespace {

// -log of what softmax(row) gives to `token`.
double surprise(std::span<const float> row, text::Token token) {
  const float largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (float logit : row) sum += std::exp(static_cast<double>(logit - largest));
  return std::log(sum) - static_cast<double>(row[static_cast<size_t>(token)] - largest);
}

bool wants_bos(const text::Vocabulary& vocabulary) {
  return vocabulary.add_bos() && vocabulary.bos();
}

}  // namespace

Result<std::vector<double>> perplexities(Evaluation& evaluation, std::span<const text::Token> tokens,
                                         uint32_t window) {
  const text::Vocabulary& vocabulary = evaluation.model().tokenizer().vocabulary();
  const uint32_t chunk = std::min(kPerplexityChunk, window);
  std::vector<double> results;
  double sum = 0;
  uint64_t scored = 0;
  for (; tokens.size() >= window; tokens = tokens.subspan(window)) {
    std::vector<Ids> sequence{Ids(tokens.begin(), tokens.begin() + window)};
    if (wants_bos(vocabulary)) sequence[0][0] = *vocabulary.bos();
    const auto score = [&](uint32_t, uint32_t position, std::span<const float> row) -> Result<void> {
      if (position + 1 == window) return {};
      sum += surprise(row, sequence[0][position + 1]);
      ++scored;
      return {};
    };
    evaluation.restart(0);
    FACET_CHECK(evaluate_all(evaluation, sequence, chunk, window / 2, score));
    results.push_back(std::exp(sum / static_cast<double>(scored)));
  }
  return results;
}

Result<void> perplexity(const PerplexityOptions& options) {
  FACET_TRY(auto model, model::Model::load(options.file));
  FACET_TRY(MappedFile text, MappedFile::open(options.text));
  const std::string_view bytes(reinterpret_cast<const char*>(text.bytes().data()), text.bytes().size());
  const text::Tokenizer& tokenizer = model->tokenizer();
  auto tokens = tokenizer.encode(bytes, {.special = false, .bos = wants_bos(tokenizer.vocabulary())});
  if (!tokens.ok()) return Error{tokens.error().code, options.text + ": " + tokens.error().message};
  if (tokens->size() < options.context) {
    return Error{FACET_INVALID_ARGUMENT, options.text + ": " + std::to_string(tokens->size()) +
                                             " tokens are less than one window of " +
                                             std::to_string(options.context)};
  }
  EvaluationSize size;
  size.positions = options.context;
  size.chunk = std::min(kPerplexityChunk, options.context);
  size.rows = size.selected = size.chunk;
  FACET_TRY(auto evaluation, Evaluation::create(model, options.compute, size));
  FACET_TRY(std::vector<double> results, perplexities(*evaluation, *tokens, options.context));
  std::printf("PPL = %.4f\n", results.back());
  return {};
}

}  // namespace facet::model_tool
