// How many CPUs this process may use.
//
//   affinity   the CPUs that the system lets a thread run on: taskset, cpuset, systemd's CPUAffinity=
//   quota      the CPU time per time that a control group (cgroup v2) gives all of its processes: cpu.max,
//              which is systemd's CPUQuota= and what containers are given. Groups lie in each other; the
//              smallest counts.
//   throttled  a group that has used up its quota is stopped until the next period begins
//
// All of them may change while the process runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace facet::cpu {

// CPUs have numbers below it.
inline constexpr uint32_t kMaxCpus = 1 << 16;

struct CgroupPlaces {
  std::string own = "/proc/self/cgroup";  // names the process's group
  std::string root = "/sys/fs/cgroup";    // where the tree of groups is mounted
};

// A file that is missing or not what it should be limits nothing and counts nothing.
struct Quota {
  static constexpr uint64_t kNone = UINT64_MAX;

  uint64_t cpus = kNone;   // rounded up, at least 1
  uint64_t whole = kNone;  // rounded down
  uint64_t throttled = 0;  // how often the group and those around it were, since they were made
};

Quota read_quota(const CgroupPlaces& places = {});

// The numbers of the CPUs of the calling thread's affinity, in order; at least one.
std::vector<uint32_t> affinity();

// `cpus`, or what the quotas allow if that is less: rounded up, at least 1.
uint32_t within_quota(uint32_t cpus, const Quota& quota = read_quota());

}  // namespace facet::cpu
