// UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace facet::text {

// Bytes of the character that `text` starts with, 1 to 4; 0 if `text` is empty, is cut inside the character,
// or does not start with one.
inline size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  unsigned lead = byte(0);
  if (lead < 0x80) return text.empty() ? 0 : 1;
  if (lead < 0xC2 || lead > 0xF4 || !continues(1)) return 0;
  if (lead < 0xE0) return 2;
  if (lead < 0xF0) {
    if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) >= 0xA0)) return 0;
    return continues(2) ? 3 : 0;
  }
  if ((lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) >= 0x90)) return 0;
  return continues(2) && continues(3) ? 4 : 0;
}

// The code point of the character that `text` starts with, which utf8_length() accepts.
inline char32_t utf8_first(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  auto bits = [&](size_t i) { return static_cast<char32_t>(byte(i) & 0x3F); };
  if (byte(0) < 0x80) return byte(0);
  if (byte(0) < 0xE0) return (byte(0) & 0x1Fu) << 6 | bits(1);
  if (byte(0) < 0xF0) return (byte(0) & 0x0Fu) << 12 | bits(1) << 6 | bits(2);
  return (byte(0) & 0x07u) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3);
}

inline void append_utf8(char32_t character, std::string& out) {
  auto continuing = [&](int shift) { out += static_cast<char>(0x80 | (character >> shift & 0x3F)); };
  if (character < 0x80) {
    out += static_cast<char>(character);
  } else if (character < 0x800) {
    out += static_cast<char>(0xC0 | character >> 6);
    continuing(0);
  } else if (character < 0x10000) {
    out += static_cast<char>(0xE0 | character >> 12);
    continuing(6), continuing(0);
  } else {
    out += static_cast<char>(0xF0 | character >> 18);
    continuing(12), continuing(6), continuing(0);
  }
}

inline bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace facet::text
