// The UTF-8 stream: bytes in, piece by piece as tokens give them, and whole characters out.
//
// A character that a piece ends inside is held back until the rest of it comes. Bytes that cannot be part of
// a character become U+FFFD, one for each longest beginning of a character that breaks off, as the Unicode
// standard recommends
// ("maximal subparts"), so that what comes out does not depend on where the pieces were cut.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace facet::text {

// A value; holds at most three bytes. Thread-compatible.
class Utf8Stream {
 public:
  // Appends to `out` the characters that `bytes` complete: at most three bytes for each of `bytes`, and
  // three.
  void push(std::string_view bytes, std::string& out);
  // The end: a character that is still incomplete becomes U+FFFD. The stream is then as new.
  void finish(std::string& out);

 private:
  char held_[3];
  size_t held_size_ = 0;
};

}  // namespace facet::text
