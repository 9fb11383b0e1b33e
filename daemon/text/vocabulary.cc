#include "daemon/text/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace facet::text {
namespace {

Error malformed(std::string message) {
  return {FACET_MALFORMED, "the vocabulary " + std::move(message)};
}

std::string named(size_t token) {
  return "token " + std::to_string(token);
}

// The value of a hexadecimal digit as byte tokens write it; -1 for another character.
int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_byte_piece(std::string_view piece) {
  return piece.size() == 6 && piece.starts_with("<0x") && piece.ends_with('>') && digit(piece[3]) >= 0 &&
         digit(piece[4]) >= 0;
}

bool is_kind(TokenKind kind) {
  return kind >= TokenKind::kNormal && kind <= TokenKind::kByte;
}

Result<void> check_token(const VocabularyParts& parts, size_t token) {
  if (!is_kind(parts.kinds[token])) {
    return malformed("gives " + named(token) + " the unknown kind " +
                     std::to_string(static_cast<int>(parts.kinds[token])));
  }
  if (std::isnan(parts.scores[token]))
    return malformed("gives " + named(token) + " a score that is not a number");
  if (parts.pieces[token].size() > kMaxPieceBytes) {
    return malformed("gives " + named(token) + " a piece of " + std::to_string(parts.pieces[token].size()) +
                     " bytes, more than " + std::to_string(kMaxPieceBytes));
  }
  if (parts.kinds[token] == TokenKind::kByte && !is_byte_piece(parts.pieces[token])) {
    return malformed("has the byte token " + std::to_string(token) + ", which is not written as <0xXX>");
  }
  return {};
}

Result<void> check_id(const VocabularyParts& parts, std::string_view name, std::optional<Token> id) {
  if (!id || (*id >= 0 && static_cast<size_t>(*id) < parts.pieces.size())) return {};
  return malformed("has " + std::string(name) + " " + std::to_string(*id) + ", but only " +
                   std::to_string(parts.pieces.size()) + " tokens");
}

void sort_unique(std::vector<Token>& tokens) {
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
}

}  // namespace

Result<Vocabulary> Vocabulary::make(VocabularyParts parts) {
  size_t size = parts.pieces.size();
  if (size == 0) return malformed("is empty");
  if (size > kMaxVocabulary) return malformed("has " + std::to_string(size) + " tokens");
  if (parts.scores.size() != size || parts.kinds.size() != size) {
    return malformed("has " + std::to_string(size) + " pieces, " + std::to_string(parts.scores.size()) +
                     " scores and " + std::to_string(parts.kinds.size()) + " kinds");
  }
  size_t merges = parts.merges.size();
  if (parts.algorithm == Algorithm::kBpe && merges == 0) return malformed("has no merges");
  if (merges > kMaxMerges) return malformed("has " + std::to_string(merges) + " merges");
  for (size_t token = 0; token < size; ++token) FACET_CHECK(check_token(parts, token));
  FACET_CHECK(check_id(parts, "BOS", parts.bos));
  FACET_CHECK(check_id(parts, "EOS", parts.eos));
  FACET_CHECK(check_id(parts, "the unknown token", parts.unknown));
  for (Token token : parts.end_of_generation) FACET_CHECK(check_id(parts, "the end token", token));

  for (Token token : parts.suppressed) FACET_CHECK(check_id(parts, "the suppressed token", token));

  if (parts.eos) parts.end_of_generation.push_back(*parts.eos);
  sort_unique(parts.end_of_generation);
  sort_unique(parts.suppressed);
  if (parts.suppressed.size() == size) return malformed("suppresses all tokens");
  return Vocabulary(std::move(parts));
}

uint8_t Vocabulary::byte(Token token) const {
  return static_cast<uint8_t>(digit(piece(token)[3]) * 16 + digit(piece(token)[4]));
}

bool Vocabulary::ends_generation(Token token) const {
  return std::binary_search(parts_.end_of_generation.begin(), parts_.end_of_generation.end(), token);
}

}  // namespace facet::text
