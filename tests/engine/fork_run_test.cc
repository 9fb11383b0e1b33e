// Several requests that begin alike at the same time: what is computed of them, and that their tokens are
// those of each alone.
#include <random>

#include "tests/engine/bench.h"

using namespace facet;
using protocol::FinishReason;
using protocol::Priority;
using test::Answer;
using test::Bench;
using test::greedy;
using test::tokens;

namespace {

constexpr uint32_t kPage = 64;
constexpr uint32_t kAnswer = 12;

protocol::Generate sampled(protocol::TokenIds prompt, uint64_t seed,
                           Priority priority = Priority::kStandard) {
  protocol::Generate request = greedy(std::move(prompt), kAnswer);
  request.sampling.temperature = 1;
  request.sampling.seed = seed;
  request.priority = priority;
  return request;
}

std::vector<Answer> each_alone(const std::vector<protocol::Generate>& requests) {
  std::vector<Answer> answers;
  // A user each: none finds what another read.
  Bench bench({});
  uint64_t user = 100;
  for (const auto& request : requests) {
    answers.push_back(bench.answer(bench.start(request, test::tiny_model_path("gemma3"), ++user)));
    REQUIRE(answers.back().finish->usage.cached_tokens == 0);
  }
  return answers;
}

// What went through the model so far, once it has nothing to do.
uint64_t computed(Bench& bench) {
  bench.until([&] { return bench.load().running == 0 && bench.load().waiting == 0; });
  CHECK(bench.load().cache_pages_free == bench.load().cache_pages);
  return bench.load().computed_tokens;
}

// Tokens of an answer but the last, which is never read.
constexpr uint64_t kRead = kAnswer - 1;

}  // namespace

TEST_CASE("eight answers to one prompt cost one reading of it, and are what each is alone") {
  // The last token is read by each: of whole pages that makes the last page.
  for (const uint32_t length : {300u, 256u, 65u, 64u, 20u}) {
    std::vector<protocol::Generate> requests;
    for (uint64_t seed = 0; seed < 8; ++seed) requests.push_back(sampled(tokens(length, 1), 40 + seed));
    const std::vector<Answer> alone = each_alone(requests);
    CHECK(alone[0].ids != alone[1].ids);
    const uint64_t shared = (length - 1) / kPage * kPage;
    for (const auto& [chunk, places] : {std::pair{256u, 64u}, {48u, 3u}}) {
      CAPTURE(length);
      CAPTURE(chunk);
      engine::EngineOptions options;
      options.chunk = chunk;
      options.max_sequences = places;
      Bench bench(options, false);
      std::vector<uint64_t> ids;
      for (const auto& request : requests) ids.push_back(bench.start(request));
      bench.go();
      uint64_t cached = 0;
      for (size_t n = 0; n < ids.size(); ++n) {
        const Answer& answer = bench.answer(ids[n]);
        CHECK(answer.ids == alone[n].ids);
        CHECK(answer.text == alone[n].text);
        cached += answer.finish->usage.cached_tokens;
      }
      CHECK(cached == 7 * shared);
      CHECK(computed(bench) == length + 7 * (length - shared) + 8 * kRead);
    }
  }
}

TEST_CASE("requests that come while their beginning is read do not read it again, whatever comes behind it") {
  const protocol::TokenIds beginning = tokens(300, 2);
  std::vector<protocol::Generate> requests;
  for (uint32_t n = 0; n < 4; ++n) {
    protocol::TokenIds ids = beginning;
    const protocol::TokenIds rest = tokens(50 + 40 * n, 10 + n);
    ids.insert(ids.end(), rest.begin() + 1, rest.end());
    requests.push_back(sampled(std::move(ids), n));
  }
  const std::vector<Answer> alone = each_alone(requests);
  for (const uint32_t chunk : {256u, 48u}) {
    CAPTURE(chunk);
    engine::EngineOptions options;
    options.chunk = chunk;
    Bench bench(options, false);
    std::vector<uint64_t> ids;
    uint64_t expected = 0;
    for (size_t n = 0; n < requests.size(); ++n) {
      ids.push_back(bench.start(requests[n]));
      expected += std::get<protocol::TokenIds>(requests[n].prompt).size() + kRead - (n == 0 ? 0 : 256);
    }
    bench.go();
    for (size_t n = 0; n < ids.size(); ++n) {
      CHECK(bench.answer(ids[n]).ids == alone[n].ids);
      CHECK(bench.answer(ids[n]).finish->usage.cached_tokens == (n == 0 ? 0 : 256));
    }
    CHECK(computed(bench) == expected);
  }
}

TEST_CASE("who reads for others may be cancelled: another goes on where it was") {
  engine::EngineOptions options;
  options.chunk = 64;
  options.slice_micros = 1;
  const uint32_t length = 1200;
  std::vector<protocol::Generate> requests;
  for (uint64_t seed = 0; seed < 4; ++seed) requests.push_back(sampled(tokens(length, 3), seed));
  const std::vector<Answer> alone = each_alone(requests);
  Bench bench(options, false);
  std::vector<uint64_t> ids;
  for (const auto& request : requests) ids.push_back(bench.start(request));
  bench.go();
  // What has been read shows only in what is counted.
  for (const size_t leader : {0, 1}) {
    const uint64_t before = bench.load().computed_tokens;
    bench.until([&] { return bench.load().computed_tokens > before || bench.so_far(ids[3]).ended(); });
    bench.post(link::Cancel{ids[leader]});
  }
  for (const size_t n : {2, 3}) CHECK(bench.answer(ids[n]).ids == alone[n].ids);
  bench.answer(ids[0]);
  bench.answer(ids[1]);
  // Each that ends loses at most a step and what it had of a page.
  CHECK(computed(bench) < length + 2 * 2 * kPage + 4 * (kPage + kRead));
}

TEST_CASE("nobody follows one of another class, of another user or of another app") {
  const std::string path = test::tiny_model_path("gemma3");
  const protocol::TokenIds prompt = tokens(200, 4);
  Bench bench({}, false);
  const uint64_t slow = bench.start(sampled(prompt, 1, Priority::kBackground), path, 1);
  const uint64_t urgent = bench.start(sampled(prompt, 1, Priority::kInteractive), path, 1);
  const uint64_t other = bench.start(sampled(prompt, 1, Priority::kInteractive), path, 2);
  protocol::Generate request = sampled(prompt, 1, Priority::kInteractive);
  request.id = 1000;
  bench.post(link::Start{path, request, 1, 1, "another app"});
  bench.go();
  CHECK(bench.answer(urgent).finish->usage.cached_tokens == 0);
  CHECK(bench.answer(slow).finish->usage.cached_tokens == 0);
  CHECK(bench.answer(other).finish->usage.cached_tokens == 0);
  CHECK(bench.answer(1000).finish->usage.cached_tokens == 0);
  CHECK(bench.answer(slow).ids == bench.answer(urgent).ids);
  CHECK(bench.answer(other).ids == bench.answer(urgent).ids);
}

TEST_CASE("random forks in a small cache, with cancels and all classes: no token changes, no page is lost") {
  std::mt19937 random(8);
  std::vector<protocol::Generate> requests;
  std::vector<uint64_t> users;
  for (uint32_t fork = 0; fork < 8; ++fork) {
    const protocol::TokenIds prompt = tokens(30 + random() % 250, random() % 3);
    const auto priority = static_cast<Priority>(random() % 3);
    const uint64_t user = 1 + random() % 2;
    for (uint64_t seed = 0; seed < 1 + random() % 6; ++seed) {
      requests.push_back(sampled(prompt, seed, priority));
      users.push_back(user);
    }
  }
  const std::vector<Answer> alone = each_alone(requests);
  engine::EngineOptions options;
  options.max_sequences = 6;
  options.context = 512;
  options.chunk = 48;
  options.cache_bytes = 6 << 20;
  options.slice_micros = 1;
  Bench bench(options, false);
  std::vector<uint64_t> ids;
  for (size_t n = 0; n < requests.size(); ++n) {
    ids.push_back(bench.start(requests[n], test::tiny_model_path("gemma3"), users[n]));
    if (n == requests.size() / 3) bench.go();
    if (n >= requests.size() / 3 && random() % 3 == 0) bench.post(link::Cancel{ids[random() % ids.size()]});
  }
  for (size_t n = 0; n < ids.size(); ++n) {
    const Answer& answer = bench.answer(ids[n]);
    REQUIRE(answer.finish.has_value());
    if (answer.finish->reason == FinishReason::kCancelled) {
      REQUIRE(answer.ids.size() <= alone[n].ids.size());
      CHECK(std::equal(answer.ids.begin(), answer.ids.end(), alone[n].ids.begin()));
    } else {
      CHECK(answer.ids == alone[n].ids);
    }
  }
  computed(bench);
  CHECK(bench.load().cached_tokens > 0);
}
