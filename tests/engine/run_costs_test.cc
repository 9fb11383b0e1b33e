// What runs cost, on a clock that the tests move.
#include "daemon/engine/run_costs.h"

#include <doctest/doctest.h>

#include <algorithm>

using facet::Micros;
using facet::engine::RunCosts;

namespace {

constexpr Micros kMost = 100'000, kSlice = 4000;

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
  RunCosts costs(kSlice);
  CHECK(costs.rows_within(kMost, 0) == 1u << 16);
  CHECK(costs.run_micros(7, 0) == 0);
  CHECK(costs.cut_micros(7, 0) == 0);
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
  RunCosts costs(kSlice);
  costs.run(8, 500'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 4);
  costs.run(64, 40'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 128);
  costs.run(1, 200'000, 0);
  costs.run(64, 40'000, 0);
  CHECK(costs.rows_within(kMost, 0) == 128);
}

TEST_CASE("all sizes too slow: one row") {
  RunCosts costs(kSlice);
  costs.run(1, kMost + 1, 0);
  CHECK(costs.rows_within(kMost, 0) == 1);
}

TEST_CASE("after a slow spell the sizes of before are chosen again, soon, and without idle time") {
  RunCosts costs(kSlice);
  Micros now = 0;
  work(costs, now, 390, 10);
  CHECK(costs.rows_within(kMost, now) == 256);
  work(costs, now, 4 * 390, 300);
  CHECK(costs.rows_within(kMost, now) == 64);
  work(costs, now, 390, 2 * RunCosts::kHalfLife / 1'000'000);
  CHECK(costs.rows_within(kMost, now) == 256);
}

TEST_CASE("after a slow spell and idle time, too; a size at a time") {
  RunCosts costs(kSlice);
  Micros now = 0;
  work(costs, now, 390, 10);
  work(costs, now, 4 * 390, 300);
  now += 10 * RunCosts::kHalfLife;
  CHECK(costs.rows_within(kMost, now) == 128);
  costs.run(128, 128 * 390, now);
  CHECK(costs.rows_within(kMost, now) == 256);
}

TEST_CASE("what is forgotten and tried again costs little: a slow device does few runs that take too long") {
  RunCosts costs(kSlice);
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
  RunCosts costs(kSlice);
  costs.run(256, 4'000'000, 0);
  CHECK(costs.run_micros(256, 0) == 4'000'000);
  CHECK(costs.run_micros(256, RunCosts::kHalfLife) == 2'000'000);
  CHECK(costs.run_micros(256, 3 * RunCosts::kHalfLife) == 500'000);
  // The next measure counts for more than the old one.
  costs.run(256, 1'000'000, 3 * RunCosts::kHalfLife);
  CHECK(costs.run_micros(256, 3 * RunCosts::kHalfLife) < 1'400'000);
}

TEST_CASE("a cut that was never measured runs alone, then slices are as long as they may be") {
  RunCosts costs(kSlice);
  const Micros cost[] = {1000, 3000, 501, 400, 300, 9000};
  for (uint32_t cut = 0; cut < 6; ++cut) {
    CHECK(costs.slice_end(256, cut, 6) == cut + 1);
    costs.slice(256, cut, cut + 1, cost[cut]);
  }
  CHECK(costs.slice_end(200, 0, 6) == 2);
  CHECK(costs.slice_end(200, 1, 6) == 4);
  CHECK(costs.slice_end(200, 2, 6) == 5);
  CHECK(costs.slice_end(200, 5, 6) == 6);
  CHECK(costs.slice_end(200, 2, 4) == 4);
  CHECK(costs.slice_end(128, 0, 6) == 1);  // of another size nothing is known
}

TEST_CASE("the costs of cuts follow the slices that they are in, each by its part") {
  RunCosts costs(kSlice);
  costs.slice(256, 0, 1, 1000);
  costs.slice(256, 1, 2, 3000);
  CHECK(costs.cut_micros(200, 1) == 3000);
  CHECK(costs.cut_micros(200, 2) == 0);
  CHECK(costs.cut_micros(128, 1) == 0);
  costs.slice(256, 0, 2, 8000);
  CHECK(costs.cut_micros(256, 0) == doctest::Approx(2000).epsilon(0.01));
  CHECK(costs.cut_micros(256, 1) == doctest::Approx(6000).epsilon(0.01));
  for (int n = 0; n < 100; ++n) costs.slice(256, 0, 2, 0);
  CHECK(costs.cut_micros(256, 1) < 10);
  CHECK(costs.cut_micros(256, 1) > 0);
}

TEST_CASE("what took less is believed bit by bit, what took longer at once") {
  RunCosts costs(kSlice);
  costs.slice(8, 0, 1, 1000);
  costs.slice(8, 0, 1, 5000);
  CHECK(costs.cut_micros(8, 0) == 5000);
  costs.slice(8, 0, 1, 1000);
  CHECK(costs.cut_micros(8, 0) == 3000);
}

TEST_CASE("rows whose costliest cut takes too long are not chosen, until that is forgotten") {
  RunCosts costs(kSlice);
  Micros now = 0;
  const auto run = [&](uint32_t rows) {
    costs.slice(rows, 0, 1, 20);
    costs.slice(rows, 1, 2, 100 * rows);
    now += 20 + 100 * rows;
    costs.run(rows, 20 + 100 * rows, now);
  };
  run(64);
  CHECK(costs.rows_within(kMost, now) == 64);  // 128 would take 12.8 ms in one piece
  run(128);
  CHECK(costs.rows_within(kMost, now) == 64);
  now += RunCosts::kHalfLife;
  CHECK(costs.rows_within(kMost, now) == 128);
  run(128);
  CHECK(costs.rows_within(kMost, now) == 64);
}

namespace {

// A device with 100 cuts that take 50 us a row together, and one that takes `always` for any rows. Measures
// scatter by a twentieth; in every `disturbed`th run another program has the CPU for 20 ms.
struct Machine {
  Micros always;
  int disturbed = 0;
  Micros now = 0;
  int runs = 0;

  void run(RunCosts& costs, uint32_t rows) {
    constexpr uint32_t kCuts = 101;
    Micros all = 0;
    ++runs;
    for (uint32_t first = 0, end; first < kCuts; first = end) {
      end = costs.slice_end(rows, first, kCuts);
      Micros took =
          std::min(end, 100u) * rows / 2 - std::min(first, 100u) * rows / 2 + (end == kCuts ? always : 0);
      took = took * (95 + (runs * 7 + static_cast<int>(first)) % 11) / 100;
      if (disturbed != 0 && runs % disturbed == 0 && first <= 50 && end > 50) took += 20'000;
      costs.slice(rows, first, end, took);
      all += took;
    }
    now += all;
    costs.run(rows, all, now);
  }
};

}  // namespace

TEST_CASE("a cut that takes long for any number of rows rules none out") {
  for (Micros always : {1000, 3000, 5000, 10'000, 40'000}) {
    CAPTURE(always);
    RunCosts costs(kSlice);
    Machine machine{always};
    machine.run(costs, 1);
    machine.run(costs, 64);  // the least that a step has
    for (int i = 0; i < 8; ++i) machine.run(costs, std::min(costs.rows_within(kMost, machine.now), 256u));
    for (int i = 0; i < 200; ++i) {
      CHECK(costs.rows_within(kMost, machine.now) >= 256);
      machine.run(costs, i % 3 == 0 ? 1 : 256);
    }
  }
}

TEST_CASE("runs in which others had the CPU rule few rows out") {
  RunCosts costs(kSlice);
  Machine machine{1000, 10};
  int fewer = 0;
  for (int i = 0; i < 500; ++i) {
    const uint32_t rows = std::min(costs.rows_within(kMost, machine.now), 256u);
    fewer += i >= 10 && rows < 256;
    machine.run(costs, rows);
  }
  CHECK(fewer == 0);
}

TEST_CASE("a cut that took long once is no bound for ever") {
  RunCosts costs(kSlice);
  costs.slice(1, 0, 1, 100'000);  // cold
  costs.run(1, 100'000, 0);
  for (uint32_t rows : {64u, 128u}) {
    costs.slice(rows, 0, 1, 100 * rows);
    costs.run(rows, 100 * rows, 0);
  }
  CHECK(costs.rows_within(kMost, 0) == 64);
}
