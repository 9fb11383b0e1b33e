#include "daemon/text/radix_queue.h"

#include <doctest/doctest.h>

#include <queue>
#include <random>

using facet::text::RadixQueue;

namespace {

bool pop(RadixQueue& queue, uint64_t& number) {
  return queue.pop(number, [](uint64_t) {});
}

}  // namespace

TEST_CASE("the smallest number comes first, whenever it came in") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 200; ++round) {
    RadixQueue queue;
    std::priority_queue<uint64_t, std::vector<uint64_t>, std::greater<>> expected;
    const uint64_t mask = ~uint64_t{0} >> (1 + random() % 63);
    uint64_t popped = 0;
    for (int i = 0; i < 500; ++i) {
      if (random() % 3 != 0) {
        // Around the last one, or anywhere; some twice.
        uint64_t number = random() % 2 ? random() & mask : (popped ^ (random() % 16)) & mask;
        queue.push(number);
        expected.push(number);
      } else if (expected.empty()) {
        CHECK(!pop(queue, popped));
      } else {
        REQUIRE(pop(queue, popped));
        CHECK(popped == expected.top());
        expected.pop();
      }
    }
    for (; !expected.empty(); expected.pop()) {
      REQUIRE(pop(queue, popped));
      CHECK(popped == expected.top());
    }
    CHECK(!pop(queue, popped));
  }
}

TEST_CASE("an emptied queue takes numbers from the beginning again") {
  RadixQueue queue;
  uint64_t number = 0;
  for (int round = 0; round < 3; ++round) {
    for (uint64_t pushed : {INT64_MAX, int64_t{0}, int64_t{7}}) queue.push(pushed);
    for (uint64_t expected : {int64_t{0}, int64_t{7}, INT64_MAX}) {
      REQUIRE(pop(queue, number));
      CHECK(number == expected);
    }
    CHECK(!pop(queue, number));
  }
}
