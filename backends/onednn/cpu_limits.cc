#include "backends/onednn/cpu_limits.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <thread>

namespace facet::cpu {
namespace {

constexpr size_t kMaxOwn = 64 << 10;  // bytes of /proc/self/cgroup: a line per hierarchy
constexpr size_t kMaxQuota = 64;      // of cpu.max: two numbers
constexpr size_t kMaxPath = 4096;
constexpr size_t kMaxCpus = 1 << 16;

// What is in the file, if that is at most `most` bytes.
std::optional<std::string> read_file(const std::string& path, size_t most) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return std::nullopt;
  std::string text(most + 1, '\0');
  size_t filled = 0;
  ssize_t got = 1;
  while (got > 0 && filled < text.size()) {
    got = read(file, text.data() + filled, text.size() - filled);
    if (got > 0) filled += static_cast<size_t>(got);
  }
  close(file);
  if (got < 0 || filled > most) return std::nullopt;
  text.resize(filled);
  return text;
}

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

// A number of decimal digits alone, above zero.
std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value == 0) return std::nullopt;
  return value;
}

// cpu.max is "max 100000", or "150000 100000": microseconds of CPU time in each period of so many.
std::optional<uint64_t> cpus_of_quota(std::string_view text) {
  if (text.ends_with('\n')) text.remove_suffix(1);
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto quota = number(text.substr(0, space)), period = number(text.substr(space + 1));
  if (!quota || !period) return std::nullopt;
  return (*quota - 1) / *period + 1;
}

}  // namespace

uint32_t affinity_cpus() {
  for (size_t most = CPU_SETSIZE; most <= kMaxCpus;
       most *= 2) {  // the kernel refuses a set that is too small
    cpu_set_t* set = CPU_ALLOC(most);
    if (set == nullptr) break;
    const bool known = sched_getaffinity(0, CPU_ALLOC_SIZE(most), set) == 0;
    const int count = known ? CPU_COUNT_S(CPU_ALLOC_SIZE(most), set) : 0;
    CPU_FREE(set);
    if (count > 0) return static_cast<uint32_t>(count);
  }
  return std::max(1u, std::thread::hardware_concurrency());
}

uint32_t within_quota(uint32_t cpus, const CgroupPlaces& places) {
  std::string group = own_group(read_file(places.own, kMaxOwn).value_or(""));
  uint64_t allowed = cpus;
  for (;;) {
    if (const auto text = read_file(places.root + group + "/cpu.max", kMaxQuota)) {
      allowed = std::min(allowed, cpus_of_quota(*text).value_or(allowed));
    }
    if (group.empty()) break;
    group.resize(group.rfind('/'));
  }
  return static_cast<uint32_t>(std::max<uint64_t>(allowed, 1));
}

}  // namespace facet::cpu
