#include "backends/onednn/active_workers.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>

using facet::cpu::ActiveWorkers;

namespace {

using namespace std::chrono_literals;

constexpr uint64_t kNone = UINT64_MAX;  // no quota

const ActiveWorkers::Time kStart{1000s};

}  // namespace

TEST_CASE("what is allowed now is followed at once, both ways, up to all workers") {
  ActiveWorkers active(4);
  CHECK(active.at(kStart, {4, kNone, 0}) == 4);
  CHECK(active.at(kStart + 100ms, {2, 2, 0}) == 2);
  CHECK(active.at(kStart + 200ms, {0, 0, 0}) == 1);
  CHECK(active.at(kStart + 300ms, {3, 2, 0}) == 3);
  CHECK(active.at(kStart + 400ms, {1000, kNone, 0}) == 4);
}

TEST_CASE("a count of throttlings at the beginning says nothing, its growth does") {
  ActiveWorkers active(4);
  CHECK(active.at(kStart, {3, 2, 77}) == 3);
  CHECK(active.at(kStart + 100ms, {3, 2, 77}) == 3);
  CHECK(active.at(kStart + 200ms, {3, 2, 78}) == 2);
  CHECK(active.at(kStart + 300ms, {3, 2, 5}) == 2);  // of another group, where it was moved
}

TEST_CASE("who was throttled comes back by one worker per quiet second") {
  ActiveWorkers active(8);
  CHECK(active.at(kStart, {8, 3, 0}) == 8);
  CHECK(active.at(kStart + 100ms, {8, 3, 1}) == 3);
  for (auto after = 200ms; after < 1100ms; after += 100ms) CHECK(active.at(kStart + after, {8, 3, 1}) == 3);
  CHECK(active.at(kStart + 1100ms, {8, 3, 1}) == 4);
  CHECK(active.at(kStart + 2099ms, {8, 3, 1}) == 4);
  CHECK(active.at(kStart + 2100ms, {8, 3, 1}) == 5);
  CHECK(active.at(kStart + 2200ms, {8, 3, 2}) == 3);
  CHECK(active.at(kStart + 3100ms, {8, 3, 2}) == 3);
  // However long nobody asked: one.
  CHECK(active.at(kStart + 9000s, {8, 3, 2}) == 4);
  for (int second = 1; second <= 10; ++second) {
    CHECK(active.at(kStart + 9000s + second * 1s, {8, 3, 2}) ==
          static_cast<uint32_t>(std::min(4 + second, 8)));
  }
}

TEST_CASE("throttled again and again it stays at what the quota feeds, at least one") {
  ActiveWorkers active(4);
  active.at(kStart, {2, 1, 0});
  for (uint64_t n = 1; n < 100; ++n) CHECK(active.at(kStart + n * 100ms, {2, 1, n}) == 1);
  for (uint64_t n = 100; n < 200; ++n) CHECK(active.at(kStart + n * 100ms, {1, 0, n}) == 1);
}

TEST_CASE("a quota that grows is used at once") {
  ActiveWorkers active(4);
  active.at(kStart, {2, 1, 0});
  CHECK(active.at(kStart + 100ms, {2, 1, 1}) == 1);
  CHECK(active.at(kStart + 200ms, {3, 3, 1}) == 3);
  CHECK(active.at(kStart + 300ms, {4, kNone, 1}) == 4);
}
