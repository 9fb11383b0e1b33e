// The worker pool of the CPU backend.
#include <doctest/doctest.h>
#include <pthread.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "backends/onednn/pool.h"

using facet::cpu::Job;
using facet::cpu::Jobs;
using facet::cpu::Pool;

namespace {

double cpu_seconds(clockid_t clock) {
  timespec now;
  REQUIRE(clock_gettime(clock, &now) == 0);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// A job of one piece for each of `workers`: every piece waits until all have begun. Calls begun(worker).
template <typename Begun>
void meet(Pool& pool, uint32_t workers, const Begun& begun) {
  std::atomic<uint32_t> there{0};
  pool.run(workers, [&](uint32_t, uint32_t worker) {
    begun(worker);
    there.fetch_add(1);
    while (there.load() < workers) std::this_thread::yield();
  });
}

// So many jobs, each of which needs what the one before it wrote; what stands between them is the sum so far.
Jobs sums(uint32_t jobs, std::vector<uint64_t>& values, uint64_t& sum) {
  for (uint32_t job = 0; job < jobs; ++job) {
    const auto add = [&](uint32_t piece, uint32_t) { values[piece] += sum + piece; };
    co_yield Job(job % 9, add);
    sum = std::accumulate(values.begin(), values.end(), uint64_t{0}) % 1000003;
  }
}

Jobs until_both_began_one(std::set<std::thread::id>& threads) {
  const auto nothing = [](uint32_t, uint32_t) {};
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (threads.size() < 2 && std::chrono::steady_clock::now() < end) {
    co_yield Job(2, nothing);
    threads.insert(std::this_thread::get_id());
  }
}

Jobs throws_behind(uint32_t jobs, std::atomic<uint32_t>& done) {
  const auto count = [&](uint32_t, uint32_t) { done.fetch_add(1); };
  for (uint32_t job = 0; job < jobs; ++job) co_yield Job(7, count);
  throw std::runtime_error("between");
}

Jobs throws_in(uint32_t bad, std::atomic<uint32_t>& done) {
  for (uint32_t job = 0; job < 10; ++job) {
    const auto piece = [&](uint32_t i, uint32_t) {
      done.fetch_add(1);
      if (job == bad && i % 2 == 1) throw std::runtime_error("piece");
    };
    co_yield Job(7, piece);
  }
}

Jobs nested(uint32_t bad, std::atomic<uint32_t>& done) {
  for (uint32_t part = 0; part < 3; ++part) {
    for (Jobs inner = throws_in(part == 1 ? bad : 10, done); inner.next();) co_yield inner.job();
  }
}

}  // namespace

TEST_CASE("jobs are done in order, whatever worker begins them") {
  std::vector<uint64_t> alone(9);
  uint64_t sum_alone = 1;
  Pool(1).run(sums(3000, alone, sum_alone));
  for (uint32_t workers : {2u, 3u, 8u}) {
    Pool pool(workers);
    std::vector<uint64_t> values(9);
    uint64_t sum = 1;
    pool.run(sums(3000, values, sum));
    CHECK(values == alone);
    CHECK(sum == sum_alone);
  }
}

TEST_CASE("every worker begins jobs, not the caller alone") {
  Pool pool(2);
  std::set<std::thread::id> threads;
  pool.run(until_both_began_one(threads));
  CHECK(threads.size() == 2);
}

TEST_CASE("a failure ends the run with the job that has it, and the pool goes on") {
  for (uint32_t workers : {1u, 3u}) {
    Pool pool(workers);
    for (uint32_t round = 0; round < 200; ++round) {
      std::atomic<uint32_t> done{0};
      CHECK_THROWS_WITH(pool.run(throws_behind(round % 4, done)), "between");
      CHECK(done == 7 * (round % 4));
      done = 0;
      CHECK_THROWS_WITH(pool.run(throws_in(round % 10, done)), "piece");
      CHECK(done == 7 * (round % 10 + 1));
      done = 0;
      CHECK_THROWS_WITH(pool.run(nested(round % 10, done)), "piece");
      CHECK(done == 7 * (10 + round % 10 + 1));
    }
    std::atomic<uint32_t> done{0};
    pool.run(throws_in(10, done));
    CHECK(done == 70);
  }
}

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

TEST_CASE("every piece is done once while the number of active workers changes") {
  for (uint32_t workers : {1u, 2u, 5u}) {
    Pool pool(workers);
    for (uint32_t job = 0; job < 3000; ++job) {
      pool.set_active(1 + job * 7 / 3 % workers);
      CHECK(pool.workers() == workers);
      const uint32_t count = job % 37;
      std::vector<uint32_t> times(count);
      pool.run(count, [&](uint32_t piece, uint32_t worker) {
        if (worker < workers) ++times[piece];
      });
      for (uint32_t n : times) REQUIRE(n == 1);
    }
  }
}

TEST_CASE("jobs are done in order while the number of active workers changes from run to run") {
  Pool pool(4);
  for (uint32_t run = 0; run < 2000; ++run) {
    pool.set_active(1 + run * 7 / 3 % 4);
    std::vector<uint64_t> values(9), alone(9);
    uint64_t sum = run, sum_alone = run;
    pool.run(sums(20, values, sum));
    Jobs jobs = sums(20, alone, sum_alone);
    while (jobs.next()) {
      for (uint32_t piece = 0; piece < jobs.job().count(); ++piece) jobs.job().run(piece, 0);
    }
    REQUIRE(values == alone);
    REQUIRE(sum == sum_alone);
  }
}

TEST_CASE("workers that are not active take no pieces, but for one that they were about to") {
  Pool pool(4);
  std::vector<uint32_t> pieces(4);
  auto count = [&](uint32_t worker) { ++pieces[worker]; };
  for (uint32_t active : {3u, 2u, 3u, 1u, 2u}) {
    pool.set_active(4);
    meet(pool, 4, count);
    pool.set_active(active);
    pieces.assign(4, 0);
    for (int job = 0; job < 50; ++job) meet(pool, active, count);
    CHECK(std::accumulate(pieces.begin(), pieces.end(), 0u) == 50 * active);
    for (uint32_t worker = active; worker < 4; ++worker) CHECK(pieces[worker] <= 1);
  }
}

TEST_CASE("workers that are active again work") {
  Pool pool(3);
  for (int round = 0; round < 20; ++round) {
    pool.set_active(1);
    pool.run(20, [](uint32_t, uint32_t) {});
    pool.set_active(3);
    std::vector<uint32_t> pieces(3);
    meet(pool, 3, [&](uint32_t worker) { ++pieces[worker]; });
    CHECK(pieces == std::vector<uint32_t>{1, 1, 1});
  }
}

TEST_CASE("workers that are not active take no CPU while others work") {
  Pool pool(4);
  std::vector<clockid_t> clocks(4);
  meet(pool, 4, [&](uint32_t worker) { pthread_getcpuclockid(pthread_self(), &clocks[worker]); });
  pool.set_active(2);
  auto resting_seconds = [&] { return cpu_seconds(clocks[2]) + cpu_seconds(clocks[3]); };
  const double before = resting_seconds(), own = cpu_seconds(clocks[0]);
  while (cpu_seconds(clocks[0]) - own < 0.2) pool.run(10, [](uint32_t, uint32_t) {});
  CHECK(resting_seconds() - before < 0.005);
}

TEST_CASE("a pool ends while workers are not active") {
  for (int round = 0; round < 100; ++round) {
    Pool pool(4);
    pool.set_active(1 + round % 4);
    if (round % 3 == 0) pool.run(10, [](uint32_t, uint32_t) {});
  }
}

TEST_CASE("an idle pool takes no CPU") {
  Pool pool(4);
  std::atomic<uint32_t> done{0};
  pool.run(100, [&](uint32_t, uint32_t) { done.fetch_add(1); });
  const double before = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  CHECK(cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - before < 0.03);
  pool.run(100, [&](uint32_t, uint32_t) { done.fetch_add(1); });
  CHECK(done == 200);
}
