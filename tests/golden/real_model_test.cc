// The real model, whole.
#include "tests/golden/real_model.h"

namespace test = facet::test;
using nlohmann::json;
using test::Ids;

TEST_CASE("teacher-forced, the next token is the known one wherever it was sure") {
  const json golden = test::read_json(test::golden_path("real/gemma3-270m.json"));
  const auto model = test::load_model(test::real_gemma3_path());
  size_t sure = 0;
  for (const json& prompt : golden["prompts"]) {
    CAPTURE(prompt["text"]);
    sure += test::check_continuation(model, prompt, prompt["greedy"].size(), {.threads = 2});
  }
  MESSAGE(sure << " tokens compared");
  CHECK(sure > 100);
}

TEST_CASE("perplexity is in the range of known engines") {
  test::check_perplexity(256, 0, {.threads = 2});
  test::check_perplexity(512, 0, {.threads = 2});
  test::check_perplexity(512, 0, {.threads = 2, .cache = FACET_TYPE_F16});
  test::check_perplexity(512, 0, {.threads = 2, .cache = FACET_TYPE_Q8_0});
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
