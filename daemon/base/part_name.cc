#include "daemon/base/part_name.h"

#include <string_view>

namespace facet {
namespace {

constexpr size_t kDigits = 5;
constexpr std::string_view kPattern = "-ddddd-of-ddddd.gguf";
constexpr size_t kNumberAt = 1, kCountAt = kNumberAt + kDigits + 4;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool matches(std::string_view end) {
  for (size_t i = 0; i < kPattern.size(); ++i) {
    const bool number = i - kNumberAt < kDigits || i - kCountAt < kDigits;
    if (number ? !is_digit(end[i]) : end[i] != kPattern[i]) return false;
  }
  return true;
}

uint32_t number_at(std::string_view text) {
  uint32_t value = 0;
  for (char c : text.substr(0, kDigits)) value = value * 10 + static_cast<uint32_t>(c - '0');
  return value;
}

std::string digits(uint32_t value) {
  const std::string shown = std::to_string(value);
  return std::string(kDigits - shown.size(), '0') + shown;
}

}  // namespace

std::string PartName::of(uint32_t other) const {
  return stem + "-" + digits(other) + "-of-" + digits(count) + ".gguf";
}

std::optional<PartName> part_name(const std::string& path) {
  if (path.size() <= kPattern.size()) return std::nullopt;
  const size_t stem = path.size() - kPattern.size();
  const std::string_view end = std::string_view(path).substr(stem);
  if (path[stem - 1] == '/' || !matches(end)) return std::nullopt;
  PartName name{path.substr(0, stem), number_at(end.substr(kNumberAt)), number_at(end.substr(kCountAt))};
  if (name.number == 0 || name.number > name.count) return std::nullopt;
  return name;
}

}  // namespace facet
