#include "backends/onednn/kernel_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <charconv>

namespace facet::cpu {

std::optional<std::string> read_kernel_file(const std::string& path, size_t most) {
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

std::optional<uint64_t> whole_number(std::string_view text) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace facet::cpu
