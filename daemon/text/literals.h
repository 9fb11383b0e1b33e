// Tokens that stand in the text letter by letter: user-defined pieces, and control tokens where they are
// asked for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "daemon/text/vocabulary.h"

namespace facet::text {

inline bool is_special(TokenKind kind) {
  return kind == TokenKind::kControl || kind == TokenKind::kUnknown;
}
inline bool is_literal(TokenKind kind) {
  return kind == TokenKind::kUserDefined || is_special(kind);
}

// Finds the longest such token at a place of a text. Built for one vocabulary, which every call is given
// again: the object keeps token numbers only, so both may move.
class Literals {
 public:
  explicit Literals(const Vocabulary& vocabulary);

  // The longest user-defined token that `text` starts with, or with `special` also control or unknown token.
  // Takes time in the order of the longest piece.
  std::optional<Token> longest(const Vocabulary& vocabulary, std::string_view text, bool special) const;

 private:
  std::vector<Token> tokens_;  // in the order of their pieces
  std::array<uint32_t, 257>
      starts_{};  // where in tokens_ the pieces begin whose first byte is at least the index
};

}  // namespace facet::text
