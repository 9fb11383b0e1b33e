// What runs cost, on a clock that the tests move.
#include "daemon/engine/run_costs.h"

#include <doctest/doctest.h>

using facet::Micros;
using facet::engine::RunCosts;

namespace {

constexpr Micros kMost = 100'000;

// Runs of so many rows as fit, on a device that takes so long for each row, for some seconds of its clock.
void work(RunCosts& costs, Micros& now, Micros micros_per_row, Micros seconds) {
  for (const Micros end = now + seconds * 1'000'000; now < end;) {
    const uint32_t rows = std::min(costs.rows_within(kMost, now), 256u);
    const Micros took = rows * micros_per_row;
    now += took;
    costs.run(rows, took, now);
  }
}

}  // namespace

TEST_CASE("nothing is known at first; then what took longer is not chosen") {
  RunCosts costs;
  CHECK(costs.rows_within(kMost, 0) == 1u << 16);
  CHECK(costs.run_micros(7, 0) == 0);
  CHECK(costs.cut_micros(7) == 0);
  costs.run(256, 200'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 128);
  costs.run(128, 100'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 128);
  CHECK(costs.rows_within(kMost - 1, 0) == 64);
  CHECK(costs.rows_within(2 * kMost, 0) == 256);
  CHECK(costs.rows_within(4 * kMost, 0) == 512);
  CHECK(costs.run_micros(128, 0) == 100'000);
  CHECK(costs.run_micros(300, 0) == 200'000);
  CHECK(costs.run_micros(192, 0) == 150'000);
  CHECK(costs.run_micros(64, 0) == 0);
}

TEST_CASE("a small size that was slow once does not hide larger ones that are fast") {
  RunCosts costs;
  costs.run(8, 500'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 4);
  costs.run(64, 40'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 128);
  costs.run(1, 200'000, 0);
  costs.run(64, 40'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 128);
}

TEST_CASE("all sizes too slow: one row") {
  RunCosts costs;
  costs.run(1, kMost + 1, 0);
  CHECK(costs.rows_within(kMost, 0) == 1);
}

TEST_CASE("after a slow spell the sizes of before are chosen again, soon, and without idle time") {
  RunCosts costs;
  Micros now = 0;
  work(costs, now, 390, 10);
  CHECK(costs.rows_within(kMost, now) == 256);
  work(costs, now, 4 * 390, 300);
  CHECK(costs.rows_within(kMost, now) == 64);
  work(costs, now, 390, 2 * RunCosts::kHalfLife / 1'000'000);
  CHECK(costs.rows_within(kMost, now) == 256);
}

TEST_CASE("after a slow spell and idle time, too; a size at a time") {
  RunCosts costs;
  Micros now = 0;
  work(costs, now, 390, 10);
  work(costs, now, 4 * 390, 300);
  now += 10 * RunCosts::kHalfLife;
  CHECK(costs.rows_within(kMost, now) == 128);
  costs.run(128, 128 * 390, now);
  CHECK(costs.rows_within(kMost, now) == 256);
}

TEST_CASE("what is forgotten and tried again costs little: a slow device does few runs that take too long") {
  RunCosts costs;
  Micros now = 0;
  work(costs, now, 1500, 10);
  uint32_t tried = 0;
  for (const Micros end = now + 10 * RunCosts::kHalfLife; now < end;) {
    const uint32_t rows = costs.rows_within(kMost, now);
    CHECK(rows <= 128);
    tried += rows > 64;
    const Micros took = rows * 1500;
    now += took;
    costs.run(rows, took, now);
  }
  CHECK(tried >= 5);
  CHECK(tried <= 11);
}

TEST_CASE("an estimate of a wait is not kept for ever: a request that is refused for it gets its chance") {
  RunCosts costs;
  costs.run(256, 4'000'000, 0);
  CHECK(costs.run_micros(256, 0) == 4'000'000);
  CHECK(costs.run_micros(256, RunCosts::kHalfLife) == 2'000'000);
  CHECK(costs.run_micros(256, 3 * RunCosts::kHalfLife) == 500'000);
  // The next measure counts for more than the old one.
  costs.run(256, 1'000'000, 3 * RunCosts::kHalfLife);
  CHECK(costs.run_micros(256, 3 * RunCosts::kHalfLife) < 1'400'000);
}

TEST_CASE("the cost of a cut follows the slices of its size") {
  RunCosts costs;
  costs.slice(256, 10, 1000);
  CHECK(costs.cut_micros(200) == 100);
  CHECK(costs.cut_micros(128) == 0);
  for (int n = 0; n < 100; ++n) costs.slice(256, 10, 4000);
  CHECK(costs.cut_micros(256) > 390);
  for (int n = 0; n < 100; ++n) costs.slice(256, 10, 1000);
  CHECK(costs.cut_micros(256) < 110);
}
