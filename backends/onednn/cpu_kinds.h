// Big and little CPUs of one machine.
//
//   capacity  how much a CPU gets done, as the kernel tells it (cpu_capacity, the greatest of a machine is
//             1024). Where it tells none, Intel's hybrid CPUs are known by kind: "core" and "atom".
//   little    of less than half of the greatest capacity among the CPUs in question; an atom beside cores.
//
// The ops of a run follow each other, and each ends with its last piece. A worker on a little CPU is still at
// its piece when the others have nothing left.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace facet::cpu {

// Those of `cpus` that are not little, in their order; `devices` is where the kernel tells of them. All of
// them if it tells nothing, or not what it should.
std::vector<uint32_t> big_cpus(const std::vector<uint32_t>& cpus,
                               const std::string& devices = "/sys/devices");

// Lets the calling thread run on `cpus` only, each below kMaxCpus. Changes nothing if the system refuses.
void keep_to(const std::vector<uint32_t>& cpus);

}  // namespace facet::cpu
