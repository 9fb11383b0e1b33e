// How workers get on with other programs that want the same CPUs.
//
// A worker that the system puts aside in the middle of a piece holds up the others at the end of the job. So
// one to which that happened naps between two pieces, where it holds nothing, every 1.5 ms: whoever wants its
// CPU takes it then, and less often in between.
//
// Where there are as many workers as CPUs, the system may leave two workers on one CPU while another program
// has the other CPU to itself: to the system that is as good as any other order. A worker that was put aside,
// or has slept, looks whether it is one of two, and moves then.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace facet::cpu {

class Neighbours {
 public:
  explicit Neighbours(uint32_t workers) : workers_(workers) {}

  // All are called by `worker` itself: between two pieces, between two others while the rest of the workers
  // wait for it, before it sleeps, and after that.
  void between_pieces(uint32_t worker);
  void goes_on(uint32_t worker);
  void sleeps(uint32_t worker);
  void wakes(uint32_t worker);

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct alignas(64) Worker {
    std::atomic<uint32_t> cpu{kNone};  // where it was last; none while it sleeps
    Time since;                        // it has the CPU, as far as it knows
    Time last_call;
    Time put_aside;         // when that was noticed last
    int64_t switches = -1;  // how often it was until then
    size_t cpus = 0;        // to which it might go when it was first seen; 0: not known
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  static bool was_put_aside(Worker& worker);
  static void count_cpus(Worker& worker) noexcept;
  bool shares_cpu(uint32_t worker) const;
  // Moves `worker` to a CPU without one if it shares its own with another.
  void keep_apart(uint32_t worker) noexcept;

  std::vector<Worker> workers_;
};

}  // namespace facet::cpu
