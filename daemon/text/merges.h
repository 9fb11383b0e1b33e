// What the merges of a vocabulary make of a text.
//
// A text is cut into *symbols*: at first its characters, with "▁" for a space. A symbol is a token, or a
// character that no token stands for. A *merge* says that two neighbouring symbols become one token, and its
// *rank* how soon: as long as there are neighbours with a merge, those with the lowest rank become one, the
// leftmost first among equals. What is no token in the end is written as byte tokens. A *word* is a stretch
// of text that no merge can reach across: each is merged alone, with the same result.
//
// Where the merges come from is the vocabulary's algorithm: spm.h, bpe.h.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "daemon/text/vocabulary.h"

namespace facet::text {

// A token's number, or kCharacters + the code point of a character without a token.
using Symbol = uint32_t;
inline constexpr Symbol kCharacters = kMaxVocabulary;

struct Merge {
  Symbol left, right;
  uint32_t rank;  // below Merges::kNoRank
  Token token;    // what they become
};

// Immutable: const calls may run at the same time. Keeps 32 bytes or less per merge.
class Merges {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;

  // Of two merges for one pair the first counts. FACET_MALFORMED if a byte has neither a byte token nor an
  // unknown token to stand for it, or if the merges are chosen so that looking them up degenerates;
  // FACET_TOO_LARGE for more than kMaxMerges.
  static Result<Merges> make(const Vocabulary& vocabulary, std::span<const Merge> merges);

  // Appends the tokens of `text`; takes O(n log n), n < 2^31 the bytes of
  // its longest word. A byte that is not UTF-8 becomes its
  // byte token, and so do the bytes of a literal "▁", which would otherwise come back as a space.
  void encode(std::string_view text, std::vector<Token>& out) const;

 private:
  friend class Word;

  // What a pair becomes.
  struct Merged {
    uint32_t rank = kNoRank;  // kNoRank: the pair has no merge
    Token token = -1;
  };
  struct Slot {
    Symbol left = 0, right = 0;
    Merged merged;  // without a rank: free
  };

  Merges() = default;
  Result<void> add_bytes(const Vocabulary& vocabulary);
  void add_characters(const Vocabulary& vocabulary);
  Result<void> add_merges(const Vocabulary& vocabulary, std::span<const Merge> merges);
  bool insert(const Merge& merge);
  size_t slot_of(Symbol left, Symbol right) const;
  Merged find(Symbol left, Symbol right) const;
  Symbol symbol_of(char32_t character) const;

  std::vector<Slot> slots_;  // open addressing; a power of two, at most half full
  int shift_ = 63;           // 64 - log2 of its size
  // Symbols of characters: rows of 256 code points, the first of them empty; 0 stands for a character that is
  // no token, otherwise token + 1.
  std::array<uint16_t, 0x1100> rows_{};
  std::vector<std::array<uint32_t, 256>> characters_;
  // [class of the left character][class of the right]: whether a merge joins two such neighbours.
  std::array<std::bitset<256>, 256> joins_{};
  std::array<Token, 256> bytes_{};  // the byte token of each byte, or the unknown token
};

}  // namespace facet::text
