// The stop matcher: text passes through it until the first stop string appears.
//
// *Stop strings* are given with the request. The first match is the one that ends first in the text; of those
// that end at the same byte, the longest. A match may span pieces, so text that may be the beginning of a
// stop string is held back until that is decided; what comes out does not depend on how the text is cut. Text
// in and stop strings are UTF-8, the text in whole characters (Utf8Stream's output); then what comes out is
// in whole characters too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace facet::text {

inline constexpr size_t kMaxStops = 64;
inline constexpr size_t kMaxStopBytes = 1024;  // each

// A value. Takes time in proportion to the bytes times the number of stop strings, and at most 5 bytes of
// memory for each byte of a stop string. Thread-compatible.
class StopMatcher {
 public:
  enum class Match { kExclude, kInclude };  // whether the matched stop string is part of what comes out

  // No stop strings: everything passes. too_large beyond the bounds above; invalid_argument for a stop string
  // that is empty or not UTF-8. The message says which.
  static Result<StopMatcher> create(const std::vector<std::string>& stops, Match match = Match::kExclude);

  // Appends to `out` what `text` decides. After the match nothing comes out any more. Returns matched().
  bool push(std::string_view text, std::string& out);
  // The end of the text: appends what is held back, if nothing matched.
  void finish(std::string& out);

  bool matched() const { return matched_.has_value(); }
  // The index of the matched stop string.
  std::optional<size_t> which() const { return matched_; }
  // Bytes held back.
  size_t held() const;

 private:
  struct Stop {
    std::string bytes;
    std::vector<uint32_t>
        fallback;       // [i]: the longest proper prefix of bytes that ends its first i + 1 bytes
    uint32_t seen = 0;  // how much of `bytes` the text ends with
  };

  void append_held(std::string& out) const;

  std::vector<Stop> stops_;
  Match match_ = Match::kExclude;
  std::optional<size_t> matched_;
};

}  // namespace facet::text
