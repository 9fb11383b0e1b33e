// The real model, as much of it as scalar code does in half a minute.
#include "tests/golden/real_model.h"

namespace test = facet::test;
using nlohmann::json;

TEST_CASE("tokens of one prompt") {
  const json golden = test::read_json(test::golden_path("real/gemma3-270m.json"));
  const auto model = test::load_model(test::real_gemma3_path());
  const size_t sure = test::check_continuation(model, golden["prompts"][0], 12, {.threads = 2});
  CHECK(sure >= 5);
}

TEST_CASE("perplexity of one window") {
  test::check_perplexity(256, 1, {.threads = 2});
}
