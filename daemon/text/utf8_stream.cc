#include "daemon/text/utf8_stream.h"

#include <algorithm>

#include "daemon/text/utf8.h"

namespace facet::text {

namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// How many bytes at the start of `text`, which starts with no whole character, begin one: 0 to 3.
size_t broken_length(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned lead = byte(0);
  if (lead < 0xC2 || lead > 0xF4) return 0;
  unsigned least = 0x80;
  unsigned most = 0xBF;
  if (lead == 0xE0) least = 0xA0;
  if (lead == 0xED) most = 0x9F;
  if (lead == 0xF0) least = 0x90;
  if (lead == 0xF4) most = 0x8F;
  if (lead < 0xE0 || byte(1) < least || byte(1) > most) return 1;
  return lead < 0xF0 || (byte(2) & 0xC0) != 0x80 ? 2 : 3;
}

}  // namespace

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  // The held bytes and the few that may complete them, then the rest of `bytes` in place.
  while (!bytes.empty()) {
    char joined[6];
    std::string_view text = bytes;
    if (held_size_ > 0) {
      const size_t added = std::min<size_t>(3, bytes.size());
      std::copy_n(held_, held_size_, joined);
      std::copy_n(bytes.data(), added, joined + held_size_);
      text = {joined, held_size_ + added};
    }
    size_t length = utf8_length(text);
    if (length > 0) {
      out.append(text.substr(0, length));
    } else {
      length = broken_length(text);
      if (length == text.size()) {
        std::copy_n(text.data(), length, held_);
        held_size_ = length;
        return;
      }
      length = std::max<size_t>(length, 1);
      out.append(kReplacement);
    }
    // What is held begins a character, so `length` covers it.
    bytes.remove_prefix(length - held_size_);
    held_size_ = 0;
  }
}

void Utf8Stream::finish(std::string& out) {
  if (held_size_ > 0) out.append(kReplacement);
  held_size_ = 0;
}

}  // namespace facet::text
