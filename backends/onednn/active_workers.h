// How many workers of a pool are to be active while what the process may use changes.
//
// A throttled process has been stopped in the middle of pieces, for which the other workers wait, and its
// next quota goes into waiting, too. So once it was throttled only as many workers are active as the quota
// feeds all the time; each second in which it was not lets one more try.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace facet::cpu {

struct CpuShare {
  uint32_t cpus;       // as many workers are worth having
  uint64_t whole;      // the quota's CPUs, rounded down
  uint64_t throttled;  // how often the process was, since some time that stays the same
};

class ActiveWorkers {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr auto kQuiet = std::chrono::seconds(1);

  explicit ActiveWorkers(uint32_t workers) : workers_(workers), tries_(workers) {}

  // 1 .. workers, from what is known at `now`, which never goes back.
  uint32_t at(Time now, const CpuShare& share);

 private:
  uint32_t workers_;
  uint32_t tries_;  // workers beyond the whole CPUs
  std::optional<uint64_t> throttled_;
  Time since_;  // of the last throttling, or the last try
};

}  // namespace facet::cpu
