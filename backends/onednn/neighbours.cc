#include "backends/onednn/neighbours.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <new>
#include <thread>
#include <utility>

#include "backends/onednn/cpu_kinds.h"
#include "backends/onednn/cpu_limits.h"

namespace facet::cpu {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// Shorter than what Linux lets a program run at a stretch while another waits, which is 2 to 4 ms mostly.
constexpr auto kTurn = microseconds(1500);
// Below it nobody looks whether a worker was put aside.
constexpr auto kAway = microseconds(300);
// For which a worker counts as having neighbours after it was put aside.
constexpr auto kRemembered = microseconds(100'000);
// As short as the system makes it: some 50 us.
constexpr auto kNap = microseconds(1);

uint32_t current_cpu() {
  return static_cast<uint32_t>(sched_getcpu());
}

// How often the thread was put aside; -1: not known.
int64_t times_put_aside() {
  rusage usage{};
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? int64_t{usage.ru_nivcsw} : -1;
}

}  // namespace

void Neighbours::between_pieces(uint32_t worker) {
  Worker& own = workers_[worker];
  own.cpu.store(current_cpu(), std::memory_order_relaxed);
  count_cpus(own);
  const Time now = Clock::now();
  if (now - own.last_call > kAway && was_put_aside(own)) {
    keep_apart(worker);
    own.since = own.put_aside = own.last_call = Clock::now();
  } else if (now - own.since > kTurn && now - own.put_aside < kRemembered) {
    std::this_thread::sleep_for(kNap);
    own.since = own.last_call = Clock::now();
  } else {
    own.last_call = now;
  }
}

void Neighbours::goes_on(uint32_t worker) {
  workers_[worker].last_call = Clock::now();
}

void Neighbours::sleeps(uint32_t worker) {
  workers_[worker].cpu.store(kNone, std::memory_order_relaxed);
}

void Neighbours::wakes(uint32_t worker) {
  Worker& own = workers_[worker];
  own.cpu.store(current_cpu(), std::memory_order_relaxed);
  count_cpus(own);
  keep_apart(worker);
  own.since = own.last_call = Clock::now();
}

// Since the last call. A worker that sleeps is not put aside.
bool Neighbours::was_put_aside(Worker& worker) {
  const int64_t before = std::exchange(worker.switches, times_put_aside());
  return before >= 0 && worker.switches > before;
}

void Neighbours::count_cpus(Worker& worker) noexcept try {
  if (worker.cpus == 0) worker.cpus = affinity().size();
} catch (const std::bad_alloc&) {
  // It stays where it is.
}

bool Neighbours::shares_cpu(uint32_t worker) const {
  const uint32_t cpu = workers_[worker].cpu.load(std::memory_order_relaxed);
  for (uint32_t other = 0; other < workers_.size(); ++other) {
    if (other != worker && cpu != kNone && workers_[other].cpu.load(std::memory_order_relaxed) == cpu)
      return true;
  }
  return false;
}

void Neighbours::keep_apart(uint32_t worker) noexcept try {
  if (!shares_cpu(worker)) return;
  Worker& own = workers_[worker];
  const std::vector<uint32_t> all = affinity();
  // Whoever may go to fewer CPUs than at the start must not ask for these alone: Linux would remember it.
  if (own.cpus == 0 || all.size() < own.cpus) return;
  std::vector<uint32_t> free = all;
  for (const Worker& each : workers_) std::erase(free, each.cpu.load(std::memory_order_relaxed));
  if (free.empty()) return;
  keep_to(free);  // moves it at once
  keep_to(all);
  own.cpu.store(current_cpu(), std::memory_order_relaxed);
  own.switches = times_put_aside();  // the move is none
} catch (const std::bad_alloc&) {
  // As above.
}

}  // namespace facet::cpu
