// How many CPUs this process may use.
//
//   affinity   the CPUs that the system lets the process run on: taskset, cpuset, systemd's CPUAffinity=
//   quota      the CPU time per time that a control group (cgroup v2) gives all of its processes: cpu.max,
//   which is
//              systemd's CPUQuota= and what containers are given. Groups lie in each other; the smallest
//              counts.
#pragma once

#include <cstdint>
#include <string>

namespace facet::cpu {

struct CgroupPlaces {
  std::string own = "/proc/self/cgroup";  // names the process's group
  std::string root = "/sys/fs/cgroup";    // where the tree of groups is mounted
};

// At least 1.
uint32_t affinity_cpus();

// `cpus`, or what the quotas allow if that is less: rounded up, at least 1. A file that is missing or not
// what it should be limits nothing.
uint32_t within_quota(uint32_t cpus, const CgroupPlaces& places = {});

// Both: as many threads are worth having.
inline uint32_t allowed_cpus() {
  return within_quota(affinity_cpus());
}

}  // namespace facet::cpu
