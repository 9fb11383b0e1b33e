#include "daemon/text/spm.h"

#include <bit>
#include <optional>
#include <vector>

#include "daemon/text/piece_index.h"
#include "daemon/text/utf8.h"

namespace facet::text {
namespace {

// Falls as the score, which is a number, rises; equal for equal scores.
uint32_t rank_of(float score) {
  auto bits = std::bit_cast<uint32_t>(score + 0.0f);  // 0 for -0 too
  return bits >> 31 ? bits : 0x7FFFFFFFu - bits;
}

std::optional<Symbol> symbol_of(const PieceIndex& pieces, std::string_view part) {
  if (auto token = pieces.find(part)) return static_cast<Symbol>(*token);
  if (utf8_length(part) == part.size()) return kCharacters + utf8_first(part);
  return std::nullopt;
}

}  // namespace

Result<Merges> make_spm(const Vocabulary& vocabulary) {
  FACET_TRY(PieceIndex pieces, PieceIndex::make(vocabulary));
  std::vector<Merge> merges;
  for (Token token = 0; vocabulary.contains(token); ++token) {
    if (vocabulary.kind(token) != TokenKind::kNormal) continue;
    std::string_view piece = vocabulary.piece(token);
    if (pieces.find(piece) != token) continue;
    for (size_t cut = utf8_length(piece); cut < piece.size(); cut += utf8_length(piece.substr(cut))) {
      auto left = symbol_of(pieces, piece.substr(0, cut));
      if (!left) continue;
      auto right = symbol_of(pieces, piece.substr(cut));
      if (right) merges.push_back({*left, *right, rank_of(vocabulary.score(token)), token});
    }
    if (merges.size() > kMaxMerges) break;  // and Merges::make refuses them
  }
  return Merges::make(vocabulary, merges);
}

}  // namespace facet::text
