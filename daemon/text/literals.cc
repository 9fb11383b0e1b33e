#include "daemon/text/literals.h"

#include <algorithm>
#include <utility>

namespace facet::text {
namespace {

unsigned char byte_at(std::string_view piece, size_t index) {
  return static_cast<unsigned char>(piece[index]);
}

}  // namespace

Literals::Literals(const Vocabulary& vocabulary) {
  for (Token token = 0; vocabulary.contains(token); ++token) {
    if (is_literal(vocabulary.kind(token)) && !vocabulary.piece(token).empty()) tokens_.push_back(token);
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](Token a, Token b) {
    return std::pair(vocabulary.piece(a), a) < std::pair(vocabulary.piece(b), b);
  });
  for (Token token : tokens_) ++starts_[byte_at(vocabulary.piece(token), 0) + 1];
  for (size_t i = 1; i < starts_.size(); ++i) starts_[i] += starts_[i - 1];
}

std::optional<Token> Literals::longest(const Vocabulary& vocabulary, std::string_view text,
                                       bool special) const {
  if (text.empty()) return std::nullopt;
  std::optional<Token> best;
  // [first, last) are the pieces that begin as the text does, for a number of bytes that grows by one in each
  // round; in the order of pieces the one that is exactly those bytes comes first.
  auto first = tokens_.begin() + starts_[byte_at(text, 0)];
  auto last = tokens_.begin() + starts_[byte_at(text, 0) + 1u];
  for (size_t length = 1; first != last; ++length) {
    for (; first != last && vocabulary.piece(*first).size() == length; ++first) {
      bool taken = best && vocabulary.piece(*best).size() == length;
      if (!taken && (special || !is_special(vocabulary.kind(*first)))) best = *first;
    }
    if (length == text.size()) break;
    unsigned char next = byte_at(text, length);
    first = std::partition_point(first, last,
                                 [&](Token t) { return byte_at(vocabulary.piece(t), length) < next; });
    last = std::partition_point(first, last,
                                [&](Token t) { return byte_at(vocabulary.piece(t), length) == next; });
  }
  return best;
}

}  // namespace facet::text
