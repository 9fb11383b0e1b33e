// How the pool's workers get on with other programs.
#include "backends/onednn/neighbours.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "backends/onednn/cpu_kinds.h"
#include "backends/onednn/cpu_limits.h"

using facet::cpu::affinity;
using facet::cpu::keep_to;
using facet::cpu::Neighbours;

namespace {

using Cpus = std::vector<uint32_t>;

uint32_t current_cpu() {
  return static_cast<uint32_t>(sched_getcpu());
}

// Of 20 threads that wake as worker 1 on `cpu`, which is one of `allowed`, how many are on `wanted` then. The
// system itself may move one at any time.
int wake_up_on(uint32_t wanted, Neighbours& neighbours, uint32_t cpu, const Cpus& allowed) {
  int there = 0;
  for (int tries = 0; tries < 20; ++tries) {
    std::thread([&] {
      keep_to({cpu});
      keep_to(allowed);
      neighbours.wakes(1);
      if (current_cpu() == wanted) ++there;
      CHECK(affinity() == allowed);
    }).join();
  }
  return there;
}

// How often the thread slept, and how often it was put aside.
struct Switches {
  int64_t slept, put_aside;
};
Switches switches() {
  rusage usage{};
  REQUIRE(getrusage(RUSAGE_THREAD, &usage) == 0);
  return {usage.ru_nvcsw, usage.ru_nivcsw};
}

}  // namespace

TEST_CASE("a worker that wakes on the CPU of another moves to one that has none, and may go anywhere later") {
  const Cpus all = affinity();
  if (all.size() < 2) {
    MESSAGE("one CPU: nothing to move to");
    return;
  }
  const Cpus two{all[0], all[1]};
  Neighbours neighbours(2);
  keep_to({two[0]});
  neighbours.wakes(0);
  CHECK(wake_up_on(two[1], neighbours, two[0], two) > 10);
  CHECK(wake_up_on(two[0], neighbours, two[0], {two[0]}) == 20);  // where it may not go, it stays
  neighbours.sleeps(0);
  CHECK(wake_up_on(two[0], neighbours, two[0], two) > 0);  // whoever sleeps has no CPU
  keep_to(all);
}

TEST_CASE("a worker that is put aside for another program offers its CPU between pieces") {
  const Cpus all = affinity();
  std::atomic<bool> over{false};
  std::thread worker([&] {
    keep_to({all[0]});
    std::thread other([&] {  // is kept to the same CPU
      while (!over.load()) continue;
    });
    Neighbours neighbours(1);
    neighbours.wakes(0);
    const int64_t before = switches().slept;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (switches().slept == before && std::chrono::steady_clock::now() < end) neighbours.between_pieces(0);
    CHECK(switches().slept > before);
    over.store(true);
    other.join();
  });
  worker.join();
}

TEST_CASE("a long piece is no sign of another program") {
  for (int piece = 0; piece < 50; ++piece) {
    Neighbours neighbours(1);
    neighbours.wakes(0);
    const Switches start = switches();
    neighbours.between_pieces(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const Switches before = switches();
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(3);
    while (std::chrono::steady_clock::now() < end) neighbours.between_pieces(0);
    if (switches().put_aside == start.put_aside) CHECK(switches().slept == before.slept);
  }
}
