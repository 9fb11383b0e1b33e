// The engine under requests with deadlines: what is refused at once, what ends in time, and what stays.
#include <algorithm>

#include "tests/engine/bench.h"

using namespace facet;
using test::Answer;
using test::Bench;
using test::greedy;
using test::tokens;

namespace {

uint64_t start(Bench& bench, protocol::Generate request, uint64_t user, Micros deadline) {
  return bench.start(std::move(request), test::tiny_model_path("gemma3"), user, deadline);
}

}  // namespace

TEST_CASE("a request that is done before its deadline is as one without") {
  Bench bench({});
  const Answer without = bench.answer(bench.start(greedy(tokens(40, 1), 8)));
  const Answer in_time = bench.answer(start(bench, greedy(tokens(40, 1), 8), 0, INT64_MAX));
  REQUIRE(in_time.finish.has_value());
  CHECK(in_time.ids == without.ids);
  CHECK(in_time.finish->reason == protocol::FinishReason::kLength);
}

TEST_CASE("a deadline ends what runs, what waits and what is paused; the answer so far stands") {
  engine::EngineOptions options;
  options.max_sequences = 1;
  Bench bench(options);
  const Micros begin = now_micros();
  const std::vector<uint32_t> whole = bench.answer(bench.start(greedy(tokens(40, 1), 30))).ids;
  const Micros took = now_micros() - begin;
  // Neither comes to an end by itself: their readers take less than the answer.
  protocol::Generate request = greedy(tokens(40, 1), 30);
  request.credit = 3;
  // Not so near that they would be refused, however slow the machine.
  const Micros deadline = now_micros() + 1'000'000 + 10 * took;
  const uint64_t first = start(bench, request, 1, deadline);
  const uint64_t second = start(bench, request, 2, deadline + 1);
  for (const uint64_t id : {first, second}) {
    const Answer& answer = bench.answer(id);
    REQUIRE(answer.finish.has_value());
    CHECK(now_micros() >= deadline);
    CHECK(answer.finish->reason == protocol::FinishReason::kDeadline);
    CHECK(answer.finish->usage.prompt_tokens == 40);
    CHECK(answer.finish->usage.generated_tokens == answer.ids.size());
    REQUIRE(answer.ids.size() <= 3);
    CHECK(std::equal(answer.ids.begin(), answer.ids.end(), whole.begin()));
  }
  bench.until([&] { return bench.load().running == 0 && bench.load().waiting == 0; });
  CHECK(bench.load().cache_pages_free == bench.load().cache_pages);
  CHECK(bench.answer(bench.start(greedy(tokens(40, 1), 30))).ids == whole);
}

TEST_CASE("a deadline that the prompt alone takes longer than, by what is known, is refused at once") {
  Bench bench({});
  bench.answer(bench.start(greedy(tokens(2000, 1), 1)));
  const uint64_t late = start(bench, greedy(tokens(6000, 2), 1), 0, now_micros() + 1000);
  const Answer& answer = bench.answer(late);
  REQUIRE(answer.failed.has_value());
  CHECK(answer.failed->code == FACET_DEADLINE);
  CHECK(answer.failed->message.find("deadline: it ") == 0);  // is too close, or passed on a busy machine
  // One that passed long ago, too; and nothing is left of either.
  CHECK(bench.answer(start(bench, greedy(tokens(9, 2), 1), 0, 1)).failed->code == FACET_DEADLINE);
  CHECK(bench.answer(bench.start(greedy(tokens(9, 2), 1))).ids.size() == 1);
  bench.until([&] { return bench.load().running == 0 && bench.load().waiting == 0; });
}
