// Single fields of a struct with their checks: texts, counts of lists, enums; for codecs only.
//
// `name` is what an error calls the field. A text or list over its bound is too_large, an enum's member that
// we do not know unsupported, a text that is not UTF-8 malformed (reading) or invalid_argument (writing).
#pragma once

#include <capnp/blob.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "daemon/base/result.h"

namespace facet::protocol {

// "5 stop strings, at most 4 are allowed"
Result<void> check_count(size_t count, size_t most, const char* name);
// The same in bytes.
Result<void> check_length(size_t bytes, size_t most, const char* name);

// A text field of at most `max_bytes`.
Result<void> read_text(capnp::Text::Reader from, size_t max_bytes, const char* name, std::string& to);
// The same for writing. The reader refers to `from`.
Result<capnp::Text::Reader> checked_text(const std::string& from, size_t max_bytes, const char* name);

inline capnp::Text::Reader text_reader(const std::string& text) {
  return {text.c_str(), text.size()};
}

// A member of one of our enums, whose last is `last`.
template <typename Enum, typename Wire>
Result<void> read_enum(Wire from, Enum last, const char* name, Enum& to) {
  auto value = static_cast<uint16_t>(from);
  if (value > static_cast<uint16_t>(last)) {
    return Error{FACET_UNSUPPORTED, std::string(name) + " is unknown, " + std::to_string(value)};
  }
  to = static_cast<Enum>(value);
  return {};
}

// For builders: the Enum's numbers are the schema's.
template <typename Wire, typename Enum>
Wire wire_enum(Enum value) {
  return static_cast<Wire>(value);
}

}  // namespace facet::protocol
