#include "backends/onednn/cpu_kinds.h"

#include <sched.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "backends/onednn/cpu_limits.h"
#include "backends/onednn/kernel_file.h"

namespace facet::cpu {
namespace {

constexpr uint64_t kMostCapacity = 1024;  // that the kernel gives a CPU
constexpr size_t kMaxCapacity = 32;       // bytes of cpu_capacity: one number
constexpr size_t kMaxList = 4096;         // of a list of CPUs

// The first line of the file, which has no other.
std::optional<std::string> read_line(const std::string& path, size_t most) {
  std::optional<std::string> text = read_kernel_file(path, most);
  if (text && text->ends_with('\n')) text->pop_back();
  return text;
}

// One per CPU, each from 1 to kMostCapacity, or none at all.
std::vector<uint64_t> capacities(const std::vector<uint32_t>& cpus, const std::string& devices) {
  std::vector<uint64_t> all;
  for (const uint32_t cpu : cpus) {
    const std::string path = devices + "/system/cpu/cpu" + std::to_string(cpu) + "/cpu_capacity";
    const uint64_t capacity = whole_number(read_line(path, kMaxCapacity).value_or("")).value_or(0);
    if (capacity == 0 || capacity > kMostCapacity) return {};
    all.push_back(capacity);
  }
  return all;
}

// The CPUs of a list such as "0-3,8", as marks; none at all if it is not one.
std::vector<bool> marked(std::string_view list) {
  std::vector<bool> marks(kMaxCpus);
  for (;;) {
    const std::string_view range = list.substr(0, list.find(','));
    const size_t dash = std::min(range.find('-'), range.size());
    const auto first = whole_number(range.substr(0, dash));
    const auto last = dash == range.size() ? first : whole_number(range.substr(dash + 1));
    if (!first || !last || *first > *last || *last >= kMaxCpus) return {};
    std::fill(marks.begin() + static_cast<ptrdiff_t>(*first),
              marks.begin() + static_cast<ptrdiff_t>(*last + 1), true);
    if (range.size() == list.size()) return marks;
    list.remove_prefix(range.size() + 1);
  }
}

std::vector<bool> kind(const std::string& name, const std::string& devices) {
  return marked(read_line(devices + "/cpu_" + name + "/cpus", kMaxList).value_or(""));
}

}  // namespace

std::vector<uint32_t> big_cpus(const std::vector<uint32_t>& cpus, const std::string& devices) {
  std::vector<uint32_t> big;
  if (const std::vector<uint64_t> capacity = capacities(cpus, devices); !capacity.empty()) {
    const uint64_t greatest = *std::max_element(capacity.begin(), capacity.end());
    for (size_t i = 0; i < cpus.size(); ++i) {
      if (capacity[i] >= greatest - greatest / 2) big.push_back(cpus[i]);
    }
    return big;
  }
  const std::vector<bool> cores = kind("core", devices), atoms = kind("atom", devices);
  if (cores.empty() || atoms.empty()) return cpus;
  for (const uint32_t cpu : cpus) {
    if (cpu >= kMaxCpus || cores[cpu] == atoms[cpu]) return cpus;  // of no kind, or of both
    if (cores[cpu]) big.push_back(cpu);
  }
  return big.empty() ? cpus : big;
}

void keep_to(const std::vector<uint32_t>& cpus) {
  cpu_set_t* set = CPU_ALLOC(kMaxCpus);
  if (set == nullptr) return;
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
  CPU_ZERO_S(bytes, set);
  for (const uint32_t cpu : cpus) CPU_SET_S(cpu, bytes, set);
  sched_setaffinity(0, bytes, set);
  CPU_FREE(set);
}

}  // namespace facet::cpu
