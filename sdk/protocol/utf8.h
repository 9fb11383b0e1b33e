// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace facet::protocol {

bool is_utf8(std::string_view text);

// Makes any bytes fit to be shown: each byte that is no part of a character becomes U+FFFD, and what is
// longer than `max_bytes` is cut before a character.
std::string to_utf8(std::string_view bytes, size_t max_bytes);

}  // namespace facet::protocol
