// Cancels at any moment: how soon a request ends, and that it leaves nothing behind. Slices are short, and
// wait for the test where it wants (held_backend.h).
#include <algorithm>
#include <random>

#include "tests/engine/bench.h"
#include "tests/engine/held.h"

using namespace facet;
using protocol::FinishReason;
using protocol::Priority;
using test::Answer;
using test::Bench;
using test::gate;
using test::greedy;
using test::held;
using test::tokens;

namespace {

constexpr uint32_t kPlaces = 6, kContext = 128;

engine::EngineOptions small_steps(uint32_t slice_micros) {
  engine::EngineOptions options;
  options.max_sequences = kPlaces;
  options.context = kContext;
  options.chunk = 48;
  options.slice_micros = slice_micros;
  return options;
}

protocol::Generate request(uint32_t prompt, uint32_t seed, Priority priority, uint32_t count = 0) {
  protocol::Generate request = greedy(tokens(prompt, seed), count);
  request.priority = priority;
  return request;
}

// Lets the slice go that is held; the next one is held from here on.
void one_slice(Bench& bench) {
  gate().slice_open.release();
  gate().slice_reached.acquire();
  bench.take_all();
}

// Cancels a request while a slice is held. How many slices were computed after that one before its end; 2 if
// it did not end before those. Another request has something to compute all the time.
size_t slices_after_cancel(Bench& bench, uint64_t id) {
  bench.post(link::Cancel{id});
  for (size_t more = 0; more < 2; ++more) {
    one_slice(bench);
    if (bench.so_far(id).ended()) return more;
  }
  return 2;
}

void check_all_free(Bench& bench) {
  bench.until(
      [&] { return bench.load().cache_pages > 0 && bench.load().running == 0 && bench.load().waiting == 0; });
  CHECK(bench.load().cache_pages_free == bench.load().cache_pages);
}

// Every place and every page is reserved at once; whoever found none would wait until another was evicted,
// since nobody takes more than a token.
void check_nothing_reserved(Bench& bench, const std::vector<uint32_t>& expected,
                            const protocol::Generate& longest) {
  const uint64_t evicted = bench.load().evicted;
  std::vector<uint64_t> ids;
  for (uint32_t place = 0; place < kPlaces; ++place) {
    protocol::Generate one = longest;
    one.credit = 1;
    ids.push_back(bench.start(one, test::tiny_model_path("gemma3"), 100 + place));
  }
  bench.until([&] { return bench.load().running == kPlaces && bench.load().waiting == 0; });
  CHECK(bench.load().evicted == evicted);
  for (const uint64_t id : ids) bench.post(link::Credit{id, kContext});
  for (const uint64_t id : ids) CHECK(bench.answer(id).ids == expected);
}

}  // namespace

TEST_CASE("a cancelled request ends with the slice in work, or the one behind it") {
  Bench bench(held(small_steps(1)));
  gate().open.release();
  // The other one is more urgent or an equal: then what is cancelled is parked, or in a step with it.
  for (const Priority others : {Priority::kInteractive, Priority::kBackground}) {
    for (const bool in_answer : {false, true}) {
      for (const size_t slices : {0, 1, 7, 20}) {
        gate().holds_slices = true;
        const uint64_t id = bench.start(request(in_answer ? 20 : 110, 1, Priority::kBackground));
        gate().slice_reached.acquire();
        while (in_answer && bench.so_far(id).ids.size() < 2) one_slice(bench);
        const uint64_t other = bench.start(request(20, 2, others));
        for (size_t i = 0; i < slices; ++i) one_slice(bench);
        CHECK_FALSE(bench.so_far(id).ended());
        CHECK(slices_after_cancel(bench, id) <= 1);
        gate().holds_slices = false;
        gate().slice_open.release();
        CHECK(bench.answer(id).finish->reason == FinishReason::kCancelled);
        bench.post(link::Cancel{other});
        bench.answer(other);
      }
    }
  }
  check_all_free(bench);
  gate().reached.acquire();
}

TEST_CASE("a thousand cancels at random moments: no page and no place is lost") {
  const std::string path = test::tiny_model_path("gemma3");
  Bench bench(held(small_steps(20)));
  gate().open.release();
  const protocol::Generate longest = request(100, 99, Priority::kStandard);
  const std::vector<uint32_t> expected = bench.answer(bench.start(longest, path, 99)).ids;
  CHECK(expected.size() == kContext - 100);

  std::mt19937 random(7);
  std::vector<uint64_t> open;
  size_t ended_tokens = 0, waiting = 0, in_prompt = 0, in_answer = 0;
  const auto seen = [&] {
    size_t sum = ended_tokens;
    for (const uint64_t id : open) sum += bench.so_far(id).ids.size();
    return sum;
  };
  const auto forget = [&](uint64_t id) {
    const Answer& answer = bench.so_far(id);
    REQUIRE(answer.finish.has_value());
    ended_tokens += answer.ids.size();
    std::erase(open, id);
    if (answer.finish->reason != FinishReason::kCancelled) return;
    ++(!answer.ids.empty() ? in_answer : answer.finish->timings.prompt > 0 ? in_prompt : waiting);
  };
  while (waiting + in_prompt + in_answer < 1000) {
    while (open.size() < 2 * kPlaces) {
      // Of four texts, which many begin alike.
      protocol::Generate one =
          request(1 + random() % 100, random() % 4, static_cast<Priority>(random() % 3), random() % 60);
      open.push_back(bench.start(one, path, random() % 3));
    }
    const size_t moment = seen() + random() % 3;  // tokens of anyone
    const uint64_t id = open[random() % open.size()];
    bench.until([&] { return seen() >= moment || bench.so_far(id).ended(); });
    bench.post(link::Cancel{id});
    bench.answer(id);
    forget(id);
    for (const uint64_t other : std::vector(open)) {
      if (bench.so_far(other).ended()) forget(other);
    }
  }
  for (const uint64_t id : open) bench.post(link::Cancel{id});
  for (const uint64_t id : open) bench.answer(id);
  MESSAGE("cancelled while it waited: " << waiting << ", in the prompt: " << in_prompt
                                        << ", in the answer: " << in_answer);
  CHECK(waiting > 0);
  CHECK(in_prompt > 0);
  CHECK(in_answer > 0);
  check_all_free(bench);
  CHECK(bench.load().parked > 0);
  CHECK(bench.load().evicted > 0);
  CHECK(bench.load().cached_tokens > 0);
  check_nothing_reserved(bench, expected, longest);
  gate().reached.acquire();
}
