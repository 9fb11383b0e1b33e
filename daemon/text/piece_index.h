// Finds the normal tokens of a vocabulary by their text, while the merges are made.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "daemon/text/vocabulary.h"

namespace facet::text {

class PieceIndex {
 public:
  // FACET_MALFORMED if the pieces are chosen so that looking them up degenerates. `vocabulary` outlives the
  // index.
  static Result<PieceIndex> make(const Vocabulary& vocabulary);

  // The normal token with this piece, the first if there are several. A piece that is not UTF-8 is never
  // found: no text has it.
  std::optional<Token> find(std::string_view piece) const;

 private:
  struct Slot {
    uint32_t tag = 0;  // the upper half of the piece's hash
    Token token = -1;  // -1: free
  };

  explicit PieceIndex(const Vocabulary& vocabulary) : vocabulary_(&vocabulary) {}
  bool insert(Token token);

  const Vocabulary* vocabulary_;
  std::vector<Slot> slots_;  // open addressing; a power of two, at most half full
};

}  // namespace facet::text
