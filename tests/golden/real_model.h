// Checks of Gemma 3 270M, Q4_K_M, against what known engines gave.
#pragma once

#include <algorithm>
#include <sstream>

#include "daemon/model_tool/perplexity.h"
#include "tests/golden/golden.h"

namespace facet::test {

inline constexpr double kSureMargin = 0.5;    // of the best two logits: rounding does not reach it
inline constexpr double kPerplexity = 0.007;  // how far outside the known range, relative

// Feeds a prompt and its recorded continuation; every token that was chosen with a sure margin must be chosen
// here. Returns how many there were.
inline size_t check_continuation(const std::shared_ptr<const model::Model>& model,
                                 const nlohmann::json& prompt, size_t steps, const Setting& setting) {
  Ids ids = prompt["ids"].get<Ids>();
  const Ids greedy = prompt["greedy"].get<Ids>();
  const size_t first = ids.size() - 1;
  ids.insert(ids.end(), greedy.begin(), greedy.begin() + static_cast<ptrdiff_t>(steps) - 1);
  model_tool::EvaluationSize size;
  size.positions = size.chunk = static_cast<uint32_t>(ids.size());
  size.rows = size.selected = size.chunk;
  auto evaluation = open_evaluation(model, setting, size);
  size_t sure = 0;
  auto done = evaluate_all(*evaluation, std::vector<Ids>{ids}, size.chunk, static_cast<uint32_t>(first),
                           [&](uint32_t, uint32_t position, std::span<const float> row) -> Result<void> {
                             const size_t step = position - first;
                             if (prompt["margin"][step] <= kSureMargin) return {};
                             CAPTURE(step);
                             CHECK(model_tool::greedy(row) == greedy[step]);
                             ++sure;
                             return {};
                           });
  REQUIRE(done.ok());
  return sure;
}

struct Range {
  double least = INFINITY, most = -INFINITY;
};

// What known engines gave after the first `windows` windows (0: all).
inline Range known_range(uint32_t context, size_t windows) {
  Range range;
  const nlohmann::json results = read_json(golden_path("real/perplexity.json"))["results"];
  for (const nlohmann::json& result : results) {
    if (result["n_ctx"] != context) continue;
    const double value = windows == 0 ? result["final"] : result["cumulative"][windows - 1];
    range.least = std::min(range.least, value * (1 - kPerplexity));
    range.most = std::max(range.most, value * (1 + kPerplexity));
  }
  REQUIRE(range.least < range.most);
  return range;
}

inline Ids alice(const model::Model& model) {
  std::ifstream in(golden_path("real/alice.txt"));
  std::ostringstream text;
  text << in.rdbuf();
  auto tokens = model.tokenizer().encode(text.str(), {.special = false, .bos = true});
  REQUIRE(tokens.ok());
  CHECK(tokens->size() == 1780);
  return *tokens;
}

inline void check_perplexity(uint32_t context, size_t windows, const Setting& setting) {
  const auto model = load_model(real_gemma3_path());
  Ids tokens = alice(*model);
  if (windows > 0) tokens.resize(windows * context);
  model_tool::EvaluationSize size;
  size.positions = context;
  size.chunk = model_tool::kPerplexityChunk;
  size.rows = size.selected = size.chunk;
  auto evaluation = open_evaluation(model, setting, size);
  auto results = model_tool::perplexities(*evaluation, tokens, context);
  REQUIRE(results.ok());
  REQUIRE(results->size() == (windows > 0 ? windows : 1780 / context));
  const Range range = known_range(context, windows);
  MESSAGE("perplexity " << results->back() << " at " << context << ", known " << range.least << " to "
                        << range.most);
  CHECK(results->back() >= range.least);
  CHECK(results->back() <= range.most);
}

}  // namespace facet::test
