#include "daemon/text/piece_index.h"

#include <bit>
#include <functional>
#include <string>

#include "daemon/text/utf8.h"

namespace facet::text {
namespace {

constexpr size_t kMaxProbes = 256;  // a table that is half full needs a few dozen at most

uint64_t hash_of(std::string_view piece) {
  return std::hash<std::string_view>()(piece);
}

uint32_t tag_of(uint64_t hash) {
  return static_cast<uint32_t>(hash >> 32);
}

}  // namespace

Result<PieceIndex> PieceIndex::make(const Vocabulary& vocabulary) {
  PieceIndex index(vocabulary);
  index.slots_.resize(std::bit_ceil(2 * vocabulary.size()));
  for (Token token = 0; vocabulary.contains(token); ++token) {
    if (vocabulary.kind(token) != TokenKind::kNormal || !is_utf8(vocabulary.piece(token))) continue;
    if (!index.insert(token)) {
      return Error{FACET_MALFORMED, "the vocabulary's pieces collide at token " + std::to_string(token)};
    }
  }
  return index;
}

bool PieceIndex::insert(Token token) {
  std::string_view piece = vocabulary_->piece(token);
  uint64_t hash = hash_of(piece);
  for (size_t probe = 0; probe < kMaxProbes; ++probe) {
    Slot& slot = slots_[(hash + probe) & (slots_.size() - 1)];
    if (slot.token < 0) {
      slot = {tag_of(hash), token};
      return true;
    }
    if (slot.tag == tag_of(hash) && vocabulary_->piece(slot.token) == piece) return true;
  }
  return false;
}

std::optional<Token> PieceIndex::find(std::string_view piece) const {
  uint64_t hash = hash_of(piece);
  for (size_t probe = 0; probe < kMaxProbes; ++probe) {
    const Slot& slot = slots_[(hash + probe) & (slots_.size() - 1)];
    if (slot.token < 0) return std::nullopt;
    if (slot.tag == tag_of(hash) && vocabulary_->piece(slot.token) == piece) return slot.token;
  }
  return std::nullopt;
}

}  // namespace facet::text
