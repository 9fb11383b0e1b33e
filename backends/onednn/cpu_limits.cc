#include "backends/onednn/cpu_limits.h"

#include <sched.h>

#include <algorithm>
#include <numeric>
#include <string_view>
#include <thread>

#include "backends/onednn/kernel_file.h"

namespace facet::cpu {
namespace {

constexpr size_t kMaxOwn = 64 << 10;  // bytes of /proc/self/cgroup: a line per hierarchy
constexpr size_t kMaxQuota = 64;      // of cpu.max: two numbers
constexpr size_t kMaxStat = 4096;     // of cpu.stat: a number per line
constexpr size_t kMaxPath = 4096;

bool climbs(std::string_view path) {
  return (std::string(path) + "/").find("/../") != std::string::npos;
}

// The process's group in the tree of version 2, whose line is "0::/system.slice/facet.service". Empty: the
// root, or nothing that lies below it.
std::string own_group(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with("0::/")) continue;
    line.remove_prefix(3);
    const bool usable = line.size() <= kMaxPath && line != "/" && !climbs(line);
    return usable ? std::string(line) : "";
  }
  return "";
}

// cpu.max is "max 100000", or "150000 100000": microseconds of CPU time in each period of so many.
void take_limit(std::string_view text, Quota& quota) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return;
  const uint64_t time = whole_number(text.substr(0, space)).value_or(0);
  const uint64_t period = whole_number(text.substr(space + 1)).value_or(0);
  if (time == 0 || period == 0) return;
  quota.cpus = std::min(quota.cpus, (time - 1) / period + 1);
  quota.whole = std::min(quota.whole, time / period);
}

// cpu.stat has a line "nr_throttled 12" among others where the group may have a quota.
void count_throttled(std::string_view text, Quota& quota) {
  constexpr std::string_view kName = "nr_throttled ";
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    if (line.starts_with(kName)) quota.throttled += whole_number(line.substr(kName.size())).value_or(0);
  }
}

}  // namespace

Quota read_quota(const CgroupPlaces& places) {
  Quota quota;
  std::string group = own_group(read_kernel_file(places.own, kMaxOwn).value_or(""));
  for (;;) {
    const std::string folder = places.root + group;
    take_limit(read_kernel_file(folder + "/cpu.max", kMaxQuota).value_or(""), quota);
    count_throttled(read_kernel_file(folder + "/cpu.stat", kMaxStat).value_or(""), quota);
    if (group.empty()) return quota;
    group.resize(group.rfind('/'));
  }
}

std::vector<uint32_t> affinity() {
  std::vector<uint32_t> cpus;
  for (size_t most = CPU_SETSIZE; cpus.empty() && most <= kMaxCpus; most *= 2) {
    cpu_set_t* set = CPU_ALLOC(most);  // the kernel refuses one that is too small
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(most);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    for (uint32_t cpu = 0; known && cpu < most; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, set)) cpus.push_back(cpu);
    }
    CPU_FREE(set);
  }
  if (cpus.empty()) {
    cpus.resize(std::max(1u, std::thread::hardware_concurrency()));
    std::iota(cpus.begin(), cpus.end(), 0);
  }
  return cpus;
}

uint32_t within_quota(uint32_t cpus, const Quota& quota) {
  return static_cast<uint32_t>(std::max<uint64_t>(std::min<uint64_t>(cpus, quota.cpus), 1));
}

}  // namespace facet::cpu
