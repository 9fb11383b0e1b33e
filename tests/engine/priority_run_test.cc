// The engine under requests of several classes and users: who overtakes whom, and that nobody's tokens
// change.
#include <algorithm>
#include <random>
#include <semaphore>
#include <set>

#include "tests/engine/bench.h"

using namespace facet;
using protocol::Priority;
using test::Answer;
using test::Bench;
using test::greedy;
using test::tokens;

namespace {

protocol::Generate sampled(uint32_t prompt, uint32_t seed, uint32_t count, Priority priority) {
  protocol::Generate request = greedy(tokens(prompt, seed), count);
  request.sampling.temperature = 1;
  request.sampling.seed = seed;
  request.priority = priority;
  return request;
}

}  // namespace

TEST_CASE("a request of a person overtakes a long prompt in the middle of its step") {
  engine::EngineOptions options;
  options.slice_micros = 1;  // a cut at a time: a step is open to others in many places on any machine
  Bench bench(options);
  const uint64_t slow = bench.start(sampled(6000, 1, 4, Priority::kBackground));
  bench.until([&] { return bench.load().running == 1; });
  // Several: one that happens to come between two steps has nothing to overtake.
  for (uint32_t n = 0; n < 6; ++n) bench.answer(bench.start(sampled(20, 2 + n, 4, Priority::kInteractive)));
  CHECK(bench.so_far(slow).ids.empty());
  CHECK(bench.answer(slow).ids.size() == 4);
  bench.until([&] { return bench.load().running == 0; });
  CHECK(bench.load().parked > 0);
}

TEST_CASE("an urgent request takes the place of another, which gives the same tokens later") {
  engine::EngineOptions options;
  options.max_sequences = 2;
  std::vector<Answer> alone;
  const auto request = [](uint32_t n) { return sampled(150 + 10 * n, n, 60, Priority::kBackground); };
  {
    Bench bench(options);
    for (uint32_t n = 0; n < 3; ++n) alone.push_back(bench.answer(bench.start(request(n))));
  }
  Bench bench(options);
  std::vector<uint64_t> ids;
  for (uint32_t n = 0; n < 3; ++n) ids.push_back(bench.start(request(n)));
  bench.until([&] { return bench.so_far(ids[0]).ids.size() >= 5 && bench.so_far(ids[1]).ids.size() >= 5; });
  const uint64_t urgent = bench.start(sampled(20, 9, 8, Priority::kInteractive));
  bench.answer(urgent);
  const bool in_time = bench.so_far(ids[1]).ids.size() < 60;
  for (uint32_t n = 0; n < 3; ++n) CHECK(bench.answer(ids[n]).ids == alone[n].ids);
  bench.until([&] { return bench.load().running == 0; });
  if (in_time) CHECK(bench.load().evicted > 0);
  CHECK(bench.load().cache_pages_free == bench.load().cache_pages);
}

TEST_CASE(
    "who does not read gives its place to anyone, and goes on with the same tokens when it reads again") {
  engine::EngineOptions options;
  options.max_sequences = 1;
  protocol::Generate request = sampled(200, 4, 20, Priority::kInteractive);
  std::vector<uint32_t> alone;
  {
    Bench bench(options);
    alone = bench.answer(bench.start(request)).ids;
  }
  Bench bench(options);
  const std::string path = test::tiny_model_path("gemma3");
  request.credit = 3;
  const uint64_t slow = bench.start(request, path, 1);
  bench.until([&] { return bench.so_far(slow).ids.size() == 3; });
  CHECK(bench.answer(bench.start(sampled(100, 5, 8, Priority::kBackground), path, 2)).ids.size() == 8);
  // The place is free, but not for one who could do nothing with it.
  CHECK(bench.answer(bench.start(sampled(100, 6, 8, Priority::kBackground), path, 1)).ids.size() == 8);
  CHECK(bench.so_far(slow).ids.size() == 3);
  bench.until([&] { return bench.load().running == 0; });
  CHECK(bench.load().waiting == 1);
  CHECK(bench.load().evicted == 1);
  bench.post(link::Credit{slow, 100});
  CHECK(bench.answer(slow).ids == alone);

  const uint64_t gone = bench.start(request, path, 1);
  bench.until([&] { return bench.so_far(gone).ids.size() == 3; });
  bench.answer(bench.start(sampled(100, 7, 8, Priority::kBackground), path, 2));
  bench.post(link::Cancel{gone});
  CHECK(bench.answer(gone).finish->reason == protocol::FinishReason::kCancelled);
  bench.until([&] { return bench.load().waiting == 0 && bench.load().running == 0; });
  CHECK(bench.load().cache_pages_free == bench.load().cache_pages);
}

TEST_CASE("what one user's prompt began with is not read again for that user, and is for others") {
  Bench bench({});
  const std::string path = test::tiny_model_path("gemma3");
  const auto ask = [&](uint64_t user, protocol::TokenIds ids, uint32_t count, uint64_t reader = 0) {
    return bench.answer(bench.start(greedy(std::move(ids), count), path, user, 0, reader));
  };
  const Answer first = ask(1, tokens(300, 5), 40);
  CHECK(first.finish->usage.cached_tokens == 0);
  const Answer again = ask(1, tokens(300, 5), 40);
  CHECK(again.finish->usage.cached_tokens == 256);
  CHECK(again.ids == first.ids);
  const Answer other = ask(2, tokens(300, 5), 40);
  CHECK(other.finish->usage.cached_tokens == 0);
  CHECK(other.ids == first.ids);
  // Nor what the same user reads elsewhere, in a sandbox.
  for (const uint32_t cached : {0, 256}) {
    const Answer apart = ask(1, tokens(300, 5), 40, 77);
    CHECK(apart.finish->usage.cached_tokens == cached);
    CHECK(apart.ids == first.ids);
  }

  // The next turn of a conversation reads on behind the last answer.
  protocol::TokenIds longer = tokens(300, 5);
  longer.insert(longer.end(), first.ids.begin(), first.ids.end());
  const protocol::TokenIds question = tokens(30, 6);
  longer.insert(longer.end(), question.begin(), question.end());
  const Answer next = ask(1, longer, 20);
  CHECK(next.finish->usage.cached_tokens == 320);
  CHECK(ask(3, longer, 20).ids == next.ids);
}

TEST_CASE("a prompt of whole pages is read in part: its last token gives the first of the answer") {
  Bench bench({});
  const Answer first = bench.answer(bench.start(greedy(tokens(256, 8), 5)));
  const Answer again = bench.answer(bench.start(greedy(tokens(256, 8), 5)));
  CHECK(again.finish->usage.cached_tokens == 192);
  CHECK(again.ids == first.ids);
}

TEST_CASE(
    "random classes, users, cancels and shared beginnings in a small cache: no token changes, no page is "
    "lost") {
  struct Asked {
    protocol::Generate request;
    uint64_t user;
    std::vector<uint32_t> alone;
  };
  std::mt19937 random(3);
  std::vector<Asked> all;
  for (uint32_t n = 0; n < 40; ++n) {
    protocol::Generate request =
        sampled(30 + random() % 400, random() % 4, 8 + random() % 40, static_cast<Priority>(random() % 3));
    request.sampling.seed = n;
    all.push_back({std::move(request), random() % 3, {}});
  }
  {
    Bench bench({});
    for (Asked& asked : all) asked.alone = bench.answer(bench.start(asked.request)).ids;
  }
  engine::EngineOptions options;
  options.max_sequences = 5;
  options.context = 512;
  options.chunk = 48;
  options.cache_bytes = 6 << 20;
  options.slice_micros = 1;
  Bench bench(options);
  const std::string path = test::tiny_model_path("gemma3");
  std::vector<uint64_t> ids;
  size_t cancelled = 0;
  for (size_t n = 0; n < all.size(); ++n) {
    ids.push_back(bench.start(all[n].request, path, all[n].user));
    if (random() % 3 != 0) continue;
    const size_t other = random() % ids.size();
    bench.until([&] { return bench.so_far(ids[other]).ended() || !bench.so_far(ids[other]).ids.empty(); });
    bench.post(link::Cancel{ids[other]});
  }
  for (size_t n = 0; n < all.size(); ++n) {
    const Answer& answer = bench.answer(ids[n]);
    REQUIRE(answer.finish.has_value());
    if (answer.finish->reason == protocol::FinishReason::kCancelled) {
      ++cancelled;
      REQUIRE(answer.ids.size() <= all[n].alone.size());
      CHECK(std::equal(answer.ids.begin(), answer.ids.end(), all[n].alone.begin()));
    } else {
      CHECK(answer.ids == all[n].alone);
    }
  }
  bench.until([&] { return bench.load().running == 0 && bench.load().waiting == 0; });
  CHECK(bench.load().cache_pages_free == bench.load().cache_pages);
  CHECK(bench.load().evicted > 0);
  CHECK(bench.load().parked > 0);
  CHECK(bench.load().cached_tokens > 0);
  CHECK(cancelled > 0);
}

TEST_CASE("between the tokens of one step the engine looks at what came") {
  engine::EngineOptions options;
  options.slice_micros = 1;
  Bench bench(options, false);
  std::binary_semaphore reached{0}, go_on{0};
  size_t got = 0;  // tokens of the second; the engine's until `reached`
  bool held = false;
  bench.on_event = [&](const link::FromEngine& event) {
    const auto* token = std::get_if<protocol::Token>(&event);
    if (token == nullptr || held) return;
    got += token->id == 2;
    // Both generate in each step from here on, the first one before the second.
    if (token->id != 1 || got == 0) return;
    held = true;
    reached.release();
    go_on.acquire();
  };
  const uint64_t first = bench.start(greedy(tokens(20, 1), 200));
  const uint64_t second = bench.start(greedy(tokens(20, 2), 200));
  bench.go();
  reached.acquire();
  bench.post(link::Cancel{second});
  go_on.release();
  CHECK(bench.answer(second).finish->reason == protocol::FinishReason::kCancelled);
  CHECK(bench.so_far(second).ids.size() == got);
  CHECK(bench.answer(first).ids.size() == 200);
}

TEST_CASE("answers go on between the prompts of others, which take long to become tokens and are refused") {
  engine::EngineOptions options;
  options.context = 512;
  options.slice_micros = 1;  // one is taken over at a time
  Bench bench(options);
  const uint64_t talks = bench.start(greedy(tokens(20, 1), 400), test::tiny_model_path("gemma3"), 1);
  bench.until([&] { return !bench.so_far(talks).ids.empty(); });
  // As long as the context allows that a text be looked at; but of a token or more per word.
  std::string text;
  while (text.size() < 4000) text += "z ";
  std::vector<uint64_t> flood;
  for (uint32_t n = 0; n < 50; ++n) {
    protocol::Generate request;
    request.prompt = text;
    flood.push_back(bench.start(request, test::tiny_model_path("gemma3"), 2));
  }
  for (const uint64_t id : flood) {
    REQUIRE(bench.answer(id).failed.has_value());
    CHECK(bench.so_far(id).failed->code == FACET_TOO_LARGE);
  }
  const auto& heard = bench.heard();
  const auto first = std::find(heard.begin(), heard.end(), flood.front());
  const auto last = std::find(heard.begin(), heard.end(), flood.back());
  CHECK(std::count(first, last, talks) >= 5);
  CHECK(bench.answer(talks).ids.size() == 400);
}

TEST_CASE("one user's flood of waiting requests does not make another user's be refused") {
  engine::EngineOptions options;
  options.max_sequences = 1;
  options.max_waiting = 8;
  Bench bench(options);
  const std::string path = test::tiny_model_path("gemma3");
  // It takes the place, and its reader takes all its time to read.
  protocol::Generate request = sampled(30, 1, 8, Priority::kInteractive);
  request.credit = 1;
  const uint64_t first = bench.start(request, path, 1);
  bench.until([&] { return !bench.so_far(first).ids.empty(); });
  std::vector<uint64_t> flood;
  for (uint32_t n = 0; n < 20; ++n) {
    request = sampled(30, n, 8, static_cast<Priority>(n % 3));
    request.credit = 1;
    request.id = 1000 + n;
    bench.post(link::Start{path, request, 1, 1, "forged " + std::to_string(n)});
    flood.push_back(request.id);
  }
  const uint64_t other = bench.start(sampled(30, 2, 8, Priority::kBackground), path, 2);
  size_t refused = 0;
  bench.until([&] {
    refused = 0;
    for (const uint64_t id : flood) refused += bench.so_far(id).failed.has_value();
    return refused >= 10;
  });
  for (const uint64_t id : flood) {
    const Answer& answer = bench.so_far(id);
    if (!answer.failed) continue;
    CHECK(answer.failed->code == FACET_EXHAUSTED);
    CHECK(answer.failed->retry_after_ms >= 100);
    CHECK(answer.failed->retry_after_ms <= 60'000);
  }
  for (const uint64_t id : flood) bench.post(link::Cancel{id});
  bench.post(link::Cancel{first});
  CHECK(bench.answer(other).ids.size() == 8);
}

TEST_CASE("who waits is told where it stands, and who does not is not") {
  engine::EngineOptions options;
  options.max_sequences = 1;
  Bench bench(options);
  protocol::Generate endless = greedy(tokens(20, 1), 0);
  const uint64_t runs = bench.start(endless);
  bench.until([&] { return !bench.so_far(runs).ids.empty(); });
  const uint64_t second = bench.start(greedy(tokens(20, 2), 4));
  const uint64_t third = bench.start(greedy(tokens(20, 3), 4));
  protocol::Generate background = greedy(tokens(20, 4), 4);
  background.priority = Priority::kBackground;
  const uint64_t other = bench.start(background);
  const auto told = bench.positions({third, runs, 4711, other, second});
  REQUIRE(told.size() == 3);
  CHECK(told[0].id == third);
  CHECK(told[0].position == 2);
  CHECK(told[1].id == other);
  CHECK(told[1].position == 1);  // of its class
  CHECK(told[2].id == second);
  CHECK(told[2].position == 1);
  CHECK(told[0].wait_ms >= told[2].wait_ms);
  CHECK(bench.positions({}).empty());
  bench.post(link::Cancel{runs});
  for (const uint64_t id : {second, third, other}) CHECK(bench.answer(id).ids.size() == 4);
  CHECK(bench.positions({second, third}).empty());
}

TEST_CASE("who starts while positions are worked out piece by piece is not told to wait") {
  engine::EngineOptions options;
  options.max_sequences = 1;
  options.slice_micros = 1;  // and so is a piece, which is a few ids
  Bench bench(options, false);
  std::counting_semaphore<> reached(0), pass(0), answered(0);
  std::set<uint64_t> started;
  bool had_started = false;
  std::vector<link::Position> told;
  const uint64_t runs = 1, waits = 2;
  bench.on_event = [&](const link::FromEngine& event) {
    if (const auto* one = std::get_if<link::Started>(&event)) started.insert(one->id);
    if (const auto* token = std::get_if<protocol::Token>(&event); token != nullptr && token->id == runs) {
      reached.release();
      pass.acquire();
    }
    if (const auto* positions = std::get_if<link::Positions>(&event)) {
      told = positions->requests;
      had_started = started.contains(waits);
      answered.release();
    }
  };
  CHECK(bench.start(greedy(tokens(20, 1), 0)) == runs);
  CHECK(bench.start(greedy(tokens(20, 2), 4)) == waits);
  bench.go();
  reached.acquire();
  std::vector<uint64_t> ids(200'000, 4711);  // more than the pieces between two tokens get through
  ids.front() = waits;
  bench.post(link::GetPositions{ids});
  for (int token = 0; token < 2; ++token) {  // at the second one the first piece is done
    pass.release();
    reached.acquire();
  }
  bench.post(link::Cancel{runs});
  pass.release();
  answered.acquire();
  bench.stop();
  CHECK(had_started);
  CHECK(told.empty());
}
