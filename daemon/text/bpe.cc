#include "daemon/text/bpe.h"

#include <string>
#include <vector>

#include "daemon/text/piece_index.h"

namespace facet::text {
namespace {

Error malformed(size_t merge, std::string_view what) {
  return {FACET_MALFORMED, "the vocabulary's merge " + std::to_string(merge) + " " + std::string(what)};
}

Result<Merge> read_merge(const PieceIndex& pieces, std::string_view text, size_t rank) {
  size_t space = text.find(' ');
  if (space == text.npos || space == 0 || space + 1 == text.size() ||
      text.find(' ', space + 1) != text.npos) {
    return malformed(rank, "is not two pieces with a space between");
  }
  auto left = pieces.find(text.substr(0, space)), right = pieces.find(text.substr(space + 1));
  if (!left) return malformed(rank, "has a left side that is no normal token");
  if (!right) return malformed(rank, "has a right side that is no normal token");
  std::string both = std::string(text.substr(0, space)).append(text.substr(space + 1));
  auto token = pieces.find(both);
  if (!token) return malformed(rank, "makes no normal token");
  return Merge{static_cast<Symbol>(*left), static_cast<Symbol>(*right), static_cast<uint32_t>(rank), *token};
}

}  // namespace

Result<Merges> make_bpe(const Vocabulary& vocabulary) {
  FACET_TRY(PieceIndex pieces, PieceIndex::make(vocabulary));
  std::vector<Merge> merges;
  merges.reserve(vocabulary.merges().size());
  for (std::string_view text : vocabulary.merges()) {
    FACET_TRY(Merge merge, read_merge(pieces, text, merges.size()));
    merges.push_back(merge);
  }
  return Merges::make(vocabulary, merges);
}

}  // namespace facet::text
