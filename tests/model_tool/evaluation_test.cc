#include "daemon/model_tool/evaluation.h"

#include <doctest/doctest.h>

#include "daemon/model_tool/commands.h"
#include "tests/test_models.h"

namespace test = facet::test;
using facet::model_tool::check_tokens;
using facet::model_tool::Evaluation;
using facet::model_tool::EvaluationSize;
using facet::model_tool::greedy;
using facet::model_tool::Ids;
using facet::model_tool::parse_ids;
using facet::model_tool::Part;
using facet::model_tool::Select;

namespace {

std::shared_ptr<const facet::model::Model> tiny() {
  auto model = facet::model::Model::load(test::tiny_model_path("gemma3"));
  REQUIRE(model.ok());
  return *model;
}

facet::Result<std::unique_ptr<Evaluation>> create(const EvaluationSize& size) {
  return Evaluation::create(tiny(), {"reference", 1, FACET_TYPE_F32}, size);
}

// The last token's logits after one step.
std::vector<float> step(Evaluation& evaluation, uint32_t sequence, const Ids& ids) {
  const Part part{sequence, ids, Select::kLast};
  evaluation.step({&part, 1});
  std::vector<float> row(evaluation.model().config().vocabulary);
  evaluation.read_logits(0, 1, row);
  return row;
}

}  // namespace

TEST_CASE("a sequence that is rewound or restarted goes on as if it had never been further") {
  EvaluationSize size{.sequences = 2, .positions = 100, .chunk = 60, .rows = 60, .selected = 2};
  auto evaluation = create(size);
  REQUIRE(evaluation.ok());
  Evaluation& e = **evaluation;
  Ids start(40);
  for (size_t i = 0; i < start.size(); ++i) start[i] = static_cast<int32_t>(5 + 7 * i);
  step(e, 0, start);
  e.retire(0);
  const std::vector<float> first = step(e, 0, {11, 12});
  step(e, 0, Ids(50, 9));
  e.rewind(0, 40);
  CHECK(step(e, 0, {11, 12}) == first);
  CHECK(step(e, 1, start) != first);
  e.restart(0);
  step(e, 0, start);
  CHECK(step(e, 0, {11, 12}) == first);
}

TEST_CASE("logits are handed out from the position that is asked for") {
  auto evaluation = create({.sequences = 2, .positions = 10, .chunk = 4, .rows = 8, .selected = 8});
  REQUIRE(evaluation.ok());
  const std::vector<Ids> sequences{Ids(10, 5), Ids(3, 6)};
  std::vector<std::pair<uint32_t, uint32_t>> seen;
  auto done =
      evaluate_all(**evaluation, sequences, 4, 2,
                   [&](uint32_t sequence, uint32_t position, std::span<const float>) -> facet::Result<void> {
                     seen.emplace_back(sequence, position);
                     return {};
                   });
  CHECK(done.ok());
  std::vector<std::pair<uint32_t, uint32_t>> expected{{0, 2}, {0, 3}, {1, 2}};
  for (uint32_t position = 4; position < 10; ++position) expected.emplace_back(0, position);
  CHECK(seen == expected);
}

TEST_CASE("an error of the sink ends the evaluation") {
  auto evaluation = create({.positions = 10, .chunk = 10, .rows = 10, .selected = 10});
  REQUIRE(evaluation.ok());
  int calls = 0;
  auto done = evaluate_all(**evaluation, std::vector<Ids>{Ids(10, 5)}, 10, 0,
                           [&](uint32_t, uint32_t, std::span<const float>) -> facet::Result<void> {
                             ++calls;
                             return facet::Error{FACET_IO, "full"};
                           });
  CHECK_FALSE(done.ok());
  CHECK(calls == 1);
}

TEST_CASE("sizes beyond the model, the machine or a step are refused") {
  auto code = [](const EvaluationSize& size) {
    auto evaluation = create(size);
    return evaluation.ok() ? FACET_OK : evaluation.error().code;
  };
  CHECK(code({.positions = 8192, .chunk = 1, .rows = 1, .selected = 1}) == FACET_OK);
  CHECK(code({.positions = 8193, .chunk = 1, .rows = 1, .selected = 1}) == FACET_TOO_LARGE);
  CHECK(code({.positions = 10, .chunk = 10, .rows = Evaluation::kMostRows + 1, .selected = 1}) ==
        FACET_TOO_LARGE);
  CHECK(code({.positions = 10, .chunk = 10, .rows = 10, .selected = uint64_t{1} << 40}) == FACET_EXHAUSTED);
  CHECK(code({.sequences = 1u << 20, .positions = 8192, .chunk = 64, .rows = 64, .selected = 1}) ==
        FACET_EXHAUSTED);
}

TEST_CASE("a backend that is not there is named") {
  auto evaluation = Evaluation::create(tiny(), {"nonsense", 0, FACET_TYPE_F16},
                                       {.positions = 1, .chunk = 1, .rows = 1, .selected = 1});
  REQUIRE_FALSE(evaluation.ok());
  CHECK(evaluation.error().message.find("nonsense") != std::string::npos);
}

TEST_CASE("the first of equal logits is the greedy token") {
  CHECK(greedy(std::vector<float>{0, 2, 1, 2}) == 1);
}

TEST_CASE("ids") {
  CHECK(*parse_ids("7") == Ids{7});
  CHECK(*parse_ids("2,651,9") == Ids{2, 651, 9});
  for (const char* wrong : {"", ",", "1,", ",1", "1,,2", "1 ,2", "x", "1.5", "0x10", "99999999999"}) {
    CAPTURE(wrong);
    CHECK_FALSE(parse_ids(wrong).ok());
  }
  const auto model = tiny();
  CHECK(check_tokens(*model, Ids{0, 1023}).ok());
  CHECK_FALSE(check_tokens(*model, Ids{}).ok());
  CHECK_FALSE(check_tokens(*model, Ids{-1}).ok());
  CHECK(check_tokens(*model, Ids{5, 1024}).error().message.find("1024") != std::string::npos);
}
