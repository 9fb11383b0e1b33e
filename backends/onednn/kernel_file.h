// The small text files in which the kernel tells of itself, below /proc and /sys.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace facet::cpu {

// What is in the file, if it can be read and that is at most `most` bytes.
std::optional<std::string> read_kernel_file(const std::string& path, size_t most);

// A number of decimal digits alone, below 2^64.
std::optional<uint64_t> whole_number(std::string_view text);

}  // namespace facet::cpu
