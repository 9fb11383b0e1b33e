#include "daemon/engine/class_share.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

using facet::engine::ClassShare;

namespace {

using Ready = std::array<bool, ClassShare::kClasses>;
constexpr double kQuantum = 4000;

// Runs what the share says for a while, in slices of `slice` microseconds, and keeps the time of each class.
struct Device {
  ClassShare share{0.05, kQuantum};
  std::array<double, ClassShare::kClasses> had{};
  double longest = 0;  // turn of a class that was not the most urgent ready one

  void run(const Ready& ready, double micros, double slice) {
    size_t most_urgent = 0;
    while (most_urgent < ready.size() && !ready[most_urgent]) ++most_urgent;
    double turn = 0;
    size_t last = most_urgent;
    for (double now = 0; now < micros; now += slice) {
      const auto which = share.next(ready);
      REQUIRE(which.has_value());
      REQUIRE(ready[*which]);
      turn = *which == last ? turn + slice : slice;
      last = *which;
      if (last != most_urgent) longest = std::max(longest, turn);
      had[last] += slice;
      share.ran(last, slice, ready);
    }
  }
  double part(size_t which) const { return had[which] / (had[0] + had[1] + had[2]); }
};

}  // namespace

TEST_CASE("nothing runs when nothing is ready") {
  CHECK_FALSE(ClassShare().next({false, false, false}).has_value());
}

TEST_CASE("the most urgent ready class runs first") {
  const ClassShare share;
  CHECK(share.next({true, true, true}) == 0U);
  CHECK(share.next({false, true, true}) == 1U);
  CHECK(share.next({false, false, true}) == 2U);
  CHECK(share.next({true, false, true}) == 0U);
}

TEST_CASE("classes that are always ready have their shares, whatever a slice takes") {
  for (double slice : {500.0, 1000.0, 3000.0, 4000.0, 25000.0}) {
    CAPTURE(slice);
    Device all, upper, outer, lower;
    all.run({true, true, true}, 100e6, slice);
    CHECK(all.part(0) == doctest::Approx(0.9).epsilon(0.01));
    CHECK(std::abs(all.part(1) - 0.05) < 0.0005);
    CHECK(std::abs(all.part(2) - 0.05) < 0.0005);
    upper.run({true, true, false}, 100e6, slice);
    CHECK(std::abs(upper.part(1) - 0.05) < 0.0005);
    outer.run({true, false, true}, 100e6, slice);
    CHECK(std::abs(outer.part(2) - 0.05) < 0.0005);
    lower.run({false, true, true}, 100e6, slice);
    CHECK(std::abs(lower.part(2) - 0.05) < 0.0005);
  }
}

TEST_CASE("a class owed runs for about a quantum, then yields") {
  Device device;
  device.run({true, true, true}, 10e6, 500);
  CHECK(device.longest >= kQuantum);
  CHECK(device.longest <= kQuantum + 2 * 500);
}

TEST_CASE("the share holds from the first second on, in every second") {
  Device device;
  for (int second = 0; second < 20; ++second) {
    const auto before = device.had;
    device.run({true, true, true}, 1e6, 2000);
    for (size_t c : {1, 2}) CHECK(std::abs(device.had[c] - before[c] - 50000) <= kQuantum + 2000);
  }
}

TEST_CASE("who comes back after a long time has nothing to catch up") {
  for (const Ready& meanwhile : {Ready{true, false, false}, Ready{true, false, true}}) {
    Device device;
    device.run(meanwhile, 1000e6, 2000);
    const double had = device.had[1];
    device.run({true, true, false}, 70e3, 2000);
    CHECK(device.had[1] == had);  // not even a quantum yet
    device.run({true, true, false}, 20e3, 2000);
    CHECK(device.had[1] > had);
  }
}

TEST_CASE("what is owed lapses when the class has nothing ready") {
  Device device;
  device.run({true, true, false}, 79e3, 1000);
  REQUIRE(device.had[1] == 0);
  device.run({true, false, false}, 1000, 1000);
  device.run({true, true, false}, 79e3, 1000);
  CHECK(device.had[1] == 0);
}

TEST_CASE("what is owed is capped when the device does not take what it is told") {
  ClassShare share(0.05, kQuantum);
  for (int i = 0; i < 100000; ++i) share.ran(0, 4000, {true, true, false});
  double turn = 0;
  for (; share.next({true, true, false}) == 1U; turn += 500) share.ran(1, 500, {true, true, false});
  CHECK(turn <= ClassShare::kQuanta * kQuantum * 1.1);
}

TEST_CASE("a class that flickers does not have more than its share") {
  // It is ready until it had a slice longer than its quantum, then away for a moment.
  Device device;
  bool away = false;
  double had = 0;
  for (double now = 0; now < 100e6; now += 20000) {
    const Ready ready{true, !away, false};
    const auto which = device.share.next(ready);
    away = which == 1U;
    if (away) had += 20000;
    device.share.ran(*which, 20000, ready);
  }
  CHECK(had / 100e6 < 0.0505);
}

TEST_CASE("time that nobody else wanted is not held against a class") {
  Device device;
  device.run({false, false, true}, 1000e6, 4000);
  const double had = device.had[2];
  device.run({true, false, true}, 1e6, 4000);
  CHECK(std::abs(device.had[2] - had - 50000) <= 2 * kQuantum);
}

TEST_CASE("a long slice is paid back only if someone more urgent had to wait") {
  const Ready alone{false, false, true}, both{true, false, true};
  for (bool due : {true, false}) {
    for (bool urgent : {true, false}) {
      CAPTURE(due);
      CAPTURE(urgent);
      ClassShare share(0.05, kQuantum);
      if (due) share.ran(0, 81e3, both);
      REQUIRE((share.next(both) == 2U) == due);
      share.ran(2, 1e6, urgent ? both : alone);
      share.ran(0, 81e3, both);
      CHECK((share.next(both) == 2U) == !urgent);
    }
  }
}

TEST_CASE("two classes owed at once run one after the other, the more urgent first") {
  ClassShare share(0.05, kQuantum);
  const Ready all{true, true, true};
  for (int i = 0; i < 20; ++i) share.ran(0, 4000, all);
  std::vector<size_t> order;
  for (int i = 0; i < 12; ++i) {
    order.push_back(*share.next(all));
    share.ran(order.back(), 1000, all);
  }
  CHECK(order == std::vector<size_t>{1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0});
}

TEST_CASE("no minimum is strict order; nonsense is bounded") {
  ClassShare strict(0, kQuantum);
  for (int i = 0; i < 1000; ++i) strict.ran(0, 1e6, {true, true, true});
  CHECK(strict.next({true, true, true}) == 0U);

  Device greedy;
  greedy.share = ClassShare(50, -1);
  greedy.run({true, true, true}, 10e6, 1000);
  for (size_t c : {0, 1, 2}) CHECK(greedy.part(c) == doctest::Approx(1.0 / 3).epsilon(0.01));

  ClassShare share(0.05, kQuantum);
  for (double micros : {-1e9, 0.0, std::numeric_limits<double>::quiet_NaN()})
    share.ran(1, micros, {true, true, true});
  CHECK(share.next({true, true, true}) == 0U);
}
