// The merging of SentencePiece's BPE models (`tokenizer.ggml.model` = "llama"), as Gemma 3 uses it.
//
// A text starts as its characters, with "▁" for a space. As long as two neighbours together are a normal
// piece, the pair with the highest score becomes one, the leftmost first among equals. What is no piece in
// the end is written as byte tokens. A *word* is a stretch of text that no piece of the vocabulary can reach
// across: each is merged alone, with the same result.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "daemon/text/vocabulary.h"

namespace facet::text {

// Built for one vocabulary, which every call is given again: the object keeps token numbers only, so both may
// move. Const calls may run at the same time.
class Spm {
 public:
  // FACET_MALFORMED if a byte has neither a byte token nor an unknown token to stand for it, or if the pieces
  // are chosen so that looking them up degenerates.
  static Result<Spm> make(const Vocabulary& vocabulary);

  // Appends the tokens of `text`; takes O(n log n) for its longest word. A byte that is not UTF-8 becomes its
  // byte token, and so do the bytes of a literal "▁", which would otherwise come back as a space.
  void encode(const Vocabulary& vocabulary, std::string_view text, std::vector<Token>& out) const;

 private:
  friend class SpmWord;

  struct Slot {
    uint32_t tag = 0;  // the upper half of the piece's hash
    Token token = -1;  // -1: free
  };

  Spm() = default;
  bool insert(const Vocabulary& vocabulary, Token token);
  // The normal token with this piece.
  std::optional<Token> find(const Vocabulary& vocabulary, std::string_view piece) const;

  std::vector<Slot> slots_;         // open addressing; a power of two, at most half full
  size_t longest_ = 0;              // bytes of the longest normal piece
  std::bitset<256> joins_;          // last bytes of what stands before a "▁" inside a piece
  std::array<Token, 256> bytes_{};  // the byte token of each byte, or the unknown token
};

}  // namespace facet::text
