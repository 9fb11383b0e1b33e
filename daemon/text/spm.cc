#include "daemon/text/spm.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <string>

#include "daemon/text/utf8.h"

namespace facet::text {
namespace {

constexpr size_t kMaxProbes = 1024;  // a table that is half full needs a few dozen at most

uint64_t hash_of(std::string_view piece) {
  return std::hash<std::string_view>()(piece);
}

}  // namespace

// One word while it is merged. Reused from word to word for its memory.
class SpmWord {
 public:
  SpmWord(const Spm& spm, const Vocabulary& vocabulary) : spm_(spm), vocabulary_(vocabulary) {}

  bool empty() const { return symbols_.empty(); }
  // Whether a space after this word may still be reached by one of its pieces.
  bool reaches_space() const {
    return symbols_.back().is_space || spm_.joins_[static_cast<unsigned char>(bytes_.back())];
  }

  void add(std::string_view character, bool is_space) {
    symbols_.push_back({.start = static_cast<uint32_t>(bytes_.size()),
                        .length = static_cast<uint32_t>(character.size()),
                        .is_space = is_space});
    bytes_ += character;
  }

  // Merges, appends the word's tokens and empties it.
  void finish(std::vector<Token>& out) {
    link();
    while (!pairs_.empty()) {
      std::pop_heap(pairs_.begin(), pairs_.end());
      Pair pair = pairs_.back();
      pairs_.pop_back();
      merge(pair);
    }
    for (uint32_t at = 0; at != kEnd; at = symbols_[at].next) emit(symbols_[at], out);
    bytes_.clear();
    symbols_.clear();
  }

 private:
  static constexpr uint32_t kEnd = UINT32_MAX;

  struct Symbol {
    uint32_t start, length;  // in bytes_; a symbol that went into its left neighbour has length 0
    uint32_t previous = kEnd, next = kEnd;
    Token token = -1;  // -1: not known to be a piece
    bool is_space = false;
  };

  struct Pair {
    float score;
    uint32_t left, right, length;
    Token token;
    // Less urgent.
    bool operator<(const Pair& other) const {
      return score != other.score ? score < other.score : left > other.left;
    }
  };

  std::string_view text_of(uint32_t start, uint32_t length) const {
    return std::string_view(bytes_).substr(start, length);
  }

  void link() {
    for (uint32_t i = 0; i < symbols_.size(); ++i) {
      symbols_[i].previous = i == 0 ? kEnd : i - 1;
      symbols_[i].next = i + 1 == symbols_.size() ? kEnd : i + 1;
    }
    for (uint32_t i = 0; i + 1 < symbols_.size(); ++i) find_pair(i, i + 1);
    std::make_heap(pairs_.begin(), pairs_.end());
  }

  // Appends the pair to pairs_ if both together are a piece; says whether.
  bool find_pair(uint32_t left, uint32_t right) {
    uint32_t length = symbols_[left].length + symbols_[right].length;
    auto token = spm_.find(vocabulary_, text_of(symbols_[left].start, length));
    if (token) pairs_.push_back({vocabulary_.score(*token), left, right, length, *token});
    return token.has_value();
  }

  void consider(uint32_t left, uint32_t right) {
    if (left == kEnd || right == kEnd || !find_pair(left, right)) return;
    std::push_heap(pairs_.begin(), pairs_.end());
  }

  void merge(const Pair& pair) {
    Symbol& left = symbols_[pair.left];
    Symbol& right = symbols_[pair.right];
    // Symbols only grow or go: the same length in sum means that both are as they were when the pair was
    // found.
    if (left.length == 0 || right.length == 0 || left.length + right.length != pair.length) return;
    left.length = pair.length;
    left.token = pair.token;
    left.next = right.next;
    right.length = 0;
    if (left.next != kEnd) symbols_[left.next].previous = pair.left;
    consider(left.previous, pair.left);
    consider(pair.left, left.next);
  }

  void emit(const Symbol& symbol, std::vector<Token>& out) const {
    std::string_view piece = text_of(symbol.start, symbol.length);
    if (symbol.token >= 0) {
      out.push_back(symbol.token);
    } else if (auto token = spm_.find(vocabulary_, piece)) {
      out.push_back(*token);
    } else if (symbol.is_space) {
      out.push_back(spm_.bytes_[' ']);
    } else {
      for (unsigned char byte : piece) out.push_back(spm_.bytes_[byte]);
    }
  }

  const Spm& spm_;
  const Vocabulary& vocabulary_;
  std::string bytes_;
  std::vector<Symbol> symbols_;
  std::vector<Pair> pairs_;  // a heap
};

Result<Spm> Spm::make(const Vocabulary& vocabulary) {
  Spm spm;
  spm.slots_.resize(std::bit_ceil(2 * vocabulary.size()));
  spm.bytes_.fill(vocabulary.unknown().value_or(-1));
  for (Token token = 0; vocabulary.contains(token); ++token) {
    if (vocabulary.kind(token) == TokenKind::kByte) spm.bytes_[vocabulary.byte(token)] = token;
    if (vocabulary.kind(token) != TokenKind::kNormal) continue;
    if (!spm.insert(vocabulary, token)) {
      return Error{FACET_MALFORMED, "the vocabulary's pieces collide at token " + std::to_string(token)};
    }
  }
  auto missing = std::find(spm.bytes_.begin(), spm.bytes_.end(), -1);
  if (missing != spm.bytes_.end()) {
    return Error{FACET_MALFORMED, "the vocabulary has no token for byte " +
                                      std::to_string(missing - spm.bytes_.begin()) + " and no unknown token"};
  }
  return spm;
}

bool Spm::insert(const Vocabulary& vocabulary, Token token) {
  std::string_view piece = vocabulary.piece(token);
  // No text has such a piece, and the bytes of a literal "▁" must not grow together.
  if (!is_utf8(piece)) return true;
  longest_ = std::max(longest_, piece.size());
  for (size_t at = piece.find(kSpaceMark, 1); at != piece.npos; at = piece.find(kSpaceMark, at + 1)) {
    if (!piece.substr(0, at).ends_with(kSpaceMark)) joins_.set(static_cast<unsigned char>(piece[at - 1]));
  }
  uint64_t hash = hash_of(piece);
  uint32_t tag = static_cast<uint32_t>(hash >> 32);
  for (size_t probe = 0; probe < kMaxProbes; ++probe) {
    Slot& slot = slots_[(hash + probe) & (slots_.size() - 1)];
    if (slot.token < 0) {
      slot = {tag, token};
      return true;
    }
    // Of two tokens with one piece the first is used.
    if (slot.tag == tag && vocabulary.piece(slot.token) == piece) return true;
  }
  return false;
}

std::optional<Token> Spm::find(const Vocabulary& vocabulary, std::string_view piece) const {
  if (piece.size() > longest_) return std::nullopt;
  uint64_t hash = hash_of(piece);
  uint32_t tag = static_cast<uint32_t>(hash >> 32);
  for (size_t probe = 0; probe < kMaxProbes; ++probe) {
    const Slot& slot = slots_[(hash + probe) & (slots_.size() - 1)];
    if (slot.token < 0) return std::nullopt;
    if (slot.tag == tag && vocabulary.piece(slot.token) == piece) return slot.token;
  }
  return std::nullopt;
}

void Spm::encode(const Vocabulary& vocabulary, std::string_view text, std::vector<Token>& out) const {
  SpmWord word(*this, vocabulary);
  while (!text.empty()) {
    if (text.front() == ' ') {
      if (!word.empty() && !word.reaches_space()) word.finish(out);
      word.add(kSpaceMark, true);
      text.remove_prefix(1);
      continue;
    }
    size_t length = text.starts_with(kSpaceMark) ? 1 : std::max<size_t>(utf8_length(text), 1);
    word.add(text.substr(0, length), false);
    text.remove_prefix(length);
  }
  if (!word.empty()) word.finish(out);
}

}  // namespace facet::text
