#include "sdk/protocol/codec_fields.h"

#include "sdk/protocol/utf8.h"

namespace facet::protocol {

Result<void> check_count(size_t count, size_t most, const char* name) {
  if (count <= most) return {};
  return Error{FACET_TOO_LARGE,
               std::to_string(count) + " " + name + ", at most " + std::to_string(most) + " are allowed"};
}

Result<void> check_length(size_t bytes, size_t most, const char* name) {
  if (bytes <= most) return {};
  return Error{FACET_TOO_LARGE, std::string(name) + " has " + std::to_string(bytes) + " bytes, at most " +
                                    std::to_string(most) + " are allowed"};
}

Result<void> read_text(capnp::Text::Reader from, size_t max_bytes, const char* name, std::string& to) {
  FACET_CHECK(check_length(from.size(), max_bytes, name));
  if (!is_utf8({from.begin(), from.size()})) {
    return Error{FACET_MALFORMED, std::string(name) + " is not valid UTF-8"};
  }
  to.assign(from.begin(), from.size());
  return {};
}

Result<capnp::Text::Reader> checked_text(const std::string& from, size_t max_bytes, const char* name) {
  FACET_CHECK(check_length(from.size(), max_bytes, name));
  if (!is_utf8(from)) return Error{FACET_INVALID_ARGUMENT, std::string(name) + " is not valid UTF-8"};
  return text_reader(from);
}

}  // namespace facet::protocol
