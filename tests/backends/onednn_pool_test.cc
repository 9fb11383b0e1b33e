// The worker pool of the CPU backend.
#include <doctest/doctest.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "backends/onednn/pool.h"

using facet::cpu::Pool;

TEST_CASE("every piece of many small jobs is done once") {
  for (uint32_t workers : {1u, 2u, 3u, 8u}) {
    Pool pool(workers);
    CHECK(pool.workers() == workers);
    for (uint32_t job = 0; job < 3000; ++job) {
      const uint32_t count = job % 37;
      std::vector<uint32_t> times(count);
      pool.run(count, [&](uint32_t piece, uint32_t worker) {
        if (worker < workers) ++times[piece];
      });
      REQUIRE(std::accumulate(times.begin(), times.end(), 0u) == count);
      for (uint32_t n : times) REQUIRE(n == 1);
    }
  }
}

TEST_CASE("what a job wrote is seen by the next one") {
  Pool pool(3);
  std::vector<uint64_t> values(64, 1);
  for (int round = 0; round < 2000; ++round) {
    std::vector<uint64_t> next(values.size());
    pool.run(64, [&](uint32_t i, uint32_t) { next[i] = (values[i] + values[(i + 1) % 64]) % 1000003; });
    values = next;
  }
  for (uint64_t value : values) CHECK(value == values[0]);
}

TEST_CASE("more pieces than a small counter holds") {
  Pool pool(2);
  std::atomic<uint32_t> done{0};
  pool.run(300000, [&](uint32_t, uint32_t) { done.fetch_add(1, std::memory_order_relaxed); });
  CHECK(done == 300000);
}

TEST_CASE("an exception comes out of run, after the other pieces, and the pool goes on") {
  for (uint32_t workers : {1u, 3u}) {
    Pool pool(workers);
    for (int round = 0; round < 200; ++round) {
      std::atomic<uint32_t> done{0};
      auto piece = [&](uint32_t i, uint32_t) {
        done.fetch_add(1);
        if (i % 5 == 3) throw std::runtime_error("piece");
      };
      CHECK_THROWS_WITH(pool.run(20, piece), "piece");
      CHECK(done == 20);
      pool.run(20, [&](uint32_t, uint32_t) { done.fetch_add(1); });
      CHECK(done == 40);
    }
  }
}

TEST_CASE("an idle pool takes no CPU") {
  Pool pool(4);
  std::atomic<uint32_t> done{0};
  pool.run(100, [&](uint32_t, uint32_t) { done.fetch_add(1); });
  auto cpu_seconds = [] {
    timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(cpu_seconds() - before < 0.03);
  pool.run(100, [&](uint32_t, uint32_t) { done.fetch_add(1); });
  CHECK(done == 200);
}
