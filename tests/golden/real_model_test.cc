// Gemma 3 270M, Q4_K_M, against what known engines gave. The suite "whole" holds all of it; "short" a part,
// for a backend that would need many minutes.
#include <algorithm>
#include <sstream>

#include "daemon/model_tool/perplexity.h"
#include "tests/golden/golden.h"

namespace test = facet::test;
using nlohmann::json;
using test::Ids;

namespace {

constexpr double kSureMargin = 0.5;    // of the best two logits: rounding does not reach it
constexpr double kPerplexity = 0.007;  // how far outside the known range, relative

// Feeds a prompt and its recorded continuation; every token that was chosen with a sure margin must be chosen
// here. Returns how many there were.
size_t check_continuation(const std::shared_ptr<const facet::model::Model>& model, const json& prompt,
                          size_t steps, const test::Setting& setting) {
  Ids ids = prompt["ids"].get<Ids>();
  const Ids greedy = prompt["greedy"].get<Ids>();
  const size_t first = ids.size() - 1;
  ids.insert(ids.end(), greedy.begin(), greedy.begin() + static_cast<ptrdiff_t>(steps) - 1);
  facet::model_tool::EvaluationSize size;
  size.positions = size.chunk = static_cast<uint32_t>(ids.size());
  size.rows = size.selected = size.chunk;
  auto evaluation = test::open_evaluation(model, setting, size);
  size_t sure = 0;
  auto done =
      evaluate_all(*evaluation, std::vector<Ids>{ids}, size.chunk, static_cast<uint32_t>(first),
                   [&](uint32_t, uint32_t position, std::span<const float> row) -> facet::Result<void> {
                     const size_t step = position - first;
                     if (prompt["margin"][step] <= kSureMargin) return {};
                     CAPTURE(step);
                     CHECK(facet::model_tool::greedy(row) == greedy[step]);
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
Range known_range(uint32_t context, size_t windows) {
  Range range;
  const json results = test::read_json(test::golden_path("real/perplexity.json"))["results"];
  for (const json& result : results) {
    if (result["n_ctx"] != context) continue;
    const double value = windows == 0 ? result["final"] : result["cumulative"][windows - 1];
    range.least = std::min(range.least, value * (1 - kPerplexity));
    range.most = std::max(range.most, value * (1 + kPerplexity));
  }
  REQUIRE(range.least < range.most);
  return range;
}

Ids alice(const facet::model::Model& model) {
  std::ifstream in(test::golden_path("real/alice.txt"));
  std::ostringstream text;
  text << in.rdbuf();
  auto tokens = model.tokenizer().encode(text.str(), {.special = false, .bos = true});
  REQUIRE(tokens.ok());
  CHECK(tokens->size() == 1780);
  return *tokens;
}

void check_perplexity(uint32_t context, size_t windows, const test::Setting& setting) {
  const auto model = test::load_model(test::real_gemma3_path());
  Ids tokens = alice(*model);
  if (windows > 0) tokens.resize(windows * context);
  facet::model_tool::EvaluationSize size;
  size.positions = context;
  size.chunk = facet::model_tool::kPerplexityChunk;
  size.rows = size.selected = size.chunk;
  auto evaluation = test::open_evaluation(model, setting, size);
  auto results = facet::model_tool::perplexities(*evaluation, tokens, context);
  REQUIRE(results.ok());
  REQUIRE(results->size() == (windows > 0 ? windows : 1780 / context));
  const Range range = known_range(context, windows);
  MESSAGE("perplexity " << results->back() << " at " << context << ", known " << range.least << " to "
                        << range.most);
  CHECK(results->back() >= range.least);
  CHECK(results->back() <= range.most);
}

}  // namespace

TEST_SUITE_BEGIN("short");

TEST_CASE("tokens of one prompt") {
  const json golden = test::read_json(test::golden_path("real/gemma3-270m.json"));
  const auto model = test::load_model(test::real_gemma3_path());
  const size_t sure = check_continuation(model, golden["prompts"][0], 12, {.threads = 2});
  CHECK(sure >= 5);
}

TEST_CASE("perplexity of one window") {
  check_perplexity(256, 1, {.threads = 2});
}

TEST_SUITE_END();
TEST_SUITE_BEGIN("whole");

TEST_CASE("teacher-forced, the next token is the known one wherever it was sure") {
  const json golden = test::read_json(test::golden_path("real/gemma3-270m.json"));
  const auto model = test::load_model(test::real_gemma3_path());
  size_t sure = 0;
  for (const json& prompt : golden["prompts"]) {
    CAPTURE(prompt["text"]);
    sure += check_continuation(model, prompt, prompt["greedy"].size(), {.threads = 2});
  }
  MESSAGE(sure << " tokens compared");
  CHECK(sure > 100);
}

TEST_CASE("perplexity is in the range of known engines") {
  for (facet_type cache : {FACET_TYPE_F32, FACET_TYPE_F16}) {
    for (uint32_t context : {256u, 512u}) {
      CAPTURE(cache);
      CAPTURE(context);
      check_perplexity(context, 0, {.threads = 2, .cache = cache});
    }
  }
}

TEST_CASE("not one bit depends on chunk, threads or batch") {
  const json golden = test::read_json(test::golden_path("real/gemma3-270m.json"));
  const auto model = test::load_model(test::real_gemma3_path());
  std::vector<Ids> prompts;
  for (const json& prompt : golden["prompts"]) prompts.push_back(prompt["ids"].get<Ids>());
  prompts.resize(2);
  const auto whole = test::run_prompts(model, prompts, {});
  for (uint32_t threads : {1u, 2u}) {
    for (uint32_t chunk : {1u, 7u, 0u}) {
      CAPTURE(threads);
      CAPTURE(chunk);
      CHECK(test::run_prompts(model, prompts, {chunk, threads}) == whole);
      CHECK(test::run_prompts(model, {prompts[0]}, {chunk, threads})[0] == whole[0]);
    }
  }
}

TEST_SUITE_END();
