#include "daemon/model_tool/process_memory.h"

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

namespace facet::model_tool {
namespace {

bool overlaps(std::span<const std::byte> bytes, uintptr_t begin, uintptr_t end) {
  const auto first = reinterpret_cast<uintptr_t>(bytes.data());
  return first < end && begin < first + bytes.size();
}

bool is_of(const model::GgufFile& file, uintptr_t begin, uintptr_t end) {
  for (size_t i = 0; i < file.parts(); ++i) {
    if (overlaps(file.mapping(i), begin, end)) return true;
  }
  return false;
}

}  // namespace

Result<ProcessMemory> process_memory(const model::GgufFile& file) {
  std::ifstream smaps("/proc/self/smaps");
  if (!smaps) return Error{FACET_IO, "/proc/self/smaps cannot be read"};
  ProcessMemory memory;
  bool weights = false;
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t begin, end;
    uint64_t kib;
    char kind[8], access[8];
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %7s", &begin, &end, access) == 3) {
      weights = is_of(file, begin, end) || std::string_view(access) == "r--s";  // a packed copy
    } else if (weights && std::sscanf(line.c_str(), "Rss: %" SCNu64 " kB", &kib) == 1) {
      memory.resident_bytes += kib * 1024;
    } else if (!weights && std::sscanf(line.c_str(), "Private_%5[a-zA-Z]: %" SCNu64 " kB", kind, &kib) == 2) {
      memory.private_bytes += kib * 1024;
    }
  }
  return memory;
}

}  // namespace facet::model_tool
