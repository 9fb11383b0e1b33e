#include "daemon/text/merges.h"

#include <algorithm>
#include <bit>
#include <string>

#include "daemon/text/radix_queue.h"
#include "daemon/text/utf8.h"

namespace facet::text {
namespace {

constexpr size_t kMaxProbes = 256;  // a table that is half full needs a few dozen at most
constexpr char32_t kSpaceMarkCharacter = U'\u2581';

// Characters of one class are not told apart when a text is cut into words. ASCII characters have classes of
// their own, the mark of a space has that of a space.
unsigned class_of(char32_t character) {
  if (character < 0x80) return character;
  if (character == kSpaceMarkCharacter) return ' ';
  return 0x80 | (character & 0x7F);
}

// The classes of the characters that a symbol begins and ends with.
struct Ends {
  uint8_t first, last;
};

Ends ends_of(std::string_view piece) {
  if (piece.empty()) return {};
  auto first = static_cast<uint8_t>(class_of(utf8_first(piece)));
  size_t last = piece.size() - 1;
  while ((static_cast<unsigned char>(piece[last]) & 0xC0) == 0x80) --last;
  return {first, static_cast<uint8_t>(class_of(utf8_first(piece.substr(last))))};
}

}  // namespace

// One word while it is merged. Reused from word to word for its memory.
class Word {
 public:
  explicit Word(const Merges& merges) : merges_(merges) {}

  void add(Symbol symbol) { symbols_.push_back(symbol); }

  // Merges, appends the word's tokens and empties it.
  void finish(std::vector<Token>& out) {
    if (symbols_.size() <= kShort) {
      merge_short();
    } else {
      merge_long();
    }
    for (Symbol symbol : symbols_) emit(symbol, out);
    symbols_.clear();
  }

 private:
  using Merged = Merges::Merged;
  static constexpr size_t kShort = 24;  // symbols up to which looking at all of them is the fastest
  static constexpr uint32_t kEnd = UINT32_MAX;
  static constexpr uint32_t kPlaces = INT32_MAX;  // a bound of symbols_.size()

  struct Node {
    Symbol symbol;
    uint32_t previous, next;
    Merged merged;  // with the next one; without a rank for a node that went into its left neighbour
  };

  void merge_short() {
    std::array<Merged, kShort> pairs;  // of each symbol with the next one
    size_t size = symbols_.size();
    for (size_t i = 0; i + 1 < size; ++i) pairs[i] = merges_.find(symbols_[i], symbols_[i + 1]);
    while (size > 1) {
      size_t best = 0;
      for (size_t i = 1; i + 1 < size; ++i) {
        if (pairs[i].rank < pairs[best].rank) best = i;
      }
      if (pairs[best].rank == Merges::kNoRank) break;
      symbols_[best] = static_cast<Symbol>(pairs[best].token);
      --size;
      for (size_t i = best + 1; i < size; ++i) symbols_[i] = symbols_[i + 1], pairs[i - 1] = pairs[i];
      if (best + 1 < size) pairs[best] = merges_.find(symbols_[best], symbols_[best + 1]);
      if (best > 0) pairs[best - 1] = merges_.find(symbols_[best - 1], symbols_[best]);
    }
    symbols_.resize(size);
  }

  void merge_long() {
    const auto size = static_cast<uint32_t>(symbols_.size());
    nodes_.resize(size);
    for (uint32_t i = 0; i < size; ++i) {
      nodes_[i] = {symbols_[i], i == 0 ? kEnd : i - 1, i + 1 == size ? kEnd : i + 1, {}};
    }
    for (uint32_t i = 0; i + 1 < size; ++i) {
      nodes_[i].merged = merges_.find(symbols_[i], symbols_[i + 1]);
      if (nodes_[i].merged.rank != Merges::kNoRank) waiting_.push(key_of(i));
    }
    auto fetch = [this](uint64_t key) { __builtin_prefetch(&nodes_[key & kPlaces]); };
    for (uint64_t key; waiting_.pop(key, fetch);) {
      // Otherwise the pair is no more: its merge came too late.
      if (uint32_t left = key & kPlaces; key_of(left) == key) merge(left);
    }
    symbols_.clear();
    for (uint32_t at = 0; at != kEnd; at = nodes_[at].next) symbols_.push_back(nodes_[at].symbol);
  }

  // Less is more urgent.
  uint64_t key_of(uint32_t left) const { return uint64_t{nodes_[left].merged.rank} * (kPlaces + 1) + left; }

  void merge(uint32_t at) {
    Node& left = nodes_[at];
    Node& right = nodes_[left.next];
    left.symbol = static_cast<Symbol>(left.merged.token);
    left.next = right.next;
    right.merged = {};
    if (left.next != kEnd) nodes_[left.next].previous = at;
    consider(at);
    if (left.previous != kEnd) consider(left.previous);
  }

  void consider(uint32_t at) {
    Node& left = nodes_[at];
    left.merged = left.next == kEnd ? Merged() : merges_.find(left.symbol, nodes_[left.next].symbol);
    if (left.merged.rank == Merges::kNoRank) return;
    waiting_.push(key_of(at));
  }

  void emit(Symbol symbol, std::vector<Token>& out) const {
    if (symbol < kCharacters) {
      out.push_back(static_cast<Token>(symbol));
    } else if (symbol - kCharacters == kSpaceMarkCharacter) {
      out.push_back(merges_.bytes_[' ']);
    } else {
      std::string bytes;
      append_utf8(symbol - kCharacters, bytes);
      for (unsigned char byte : bytes) out.push_back(merges_.bytes_[byte]);
    }
  }

  const Merges& merges_;
  std::vector<Symbol> symbols_;
  std::vector<Node> nodes_;
  RadixQueue waiting_;  // of keys
};

Result<Merges> Merges::make(const Vocabulary& vocabulary, std::span<const Merge> merges) {
  Merges made;
  FACET_CHECK(made.add_bytes(vocabulary));
  made.add_characters(vocabulary);
  FACET_CHECK(made.add_merges(vocabulary, merges));
  return made;
}

Result<void> Merges::add_bytes(const Vocabulary& vocabulary) {
  bytes_.fill(vocabulary.unknown().value_or(-1));
  for (Token token = 0; vocabulary.contains(token); ++token) {
    if (vocabulary.kind(token) == TokenKind::kByte) bytes_[vocabulary.byte(token)] = token;
  }
  auto missing = std::find(bytes_.begin(), bytes_.end(), -1);
  if (missing == bytes_.end()) return {};
  return Error{FACET_MALFORMED, "the vocabulary has no token for byte " +
                                    std::to_string(missing - bytes_.begin()) + " and no unknown token"};
}

void Merges::add_characters(const Vocabulary& vocabulary) {
  characters_.emplace_back();
  for (Token token = 0; vocabulary.contains(token); ++token) {
    std::string_view piece = vocabulary.piece(token);
    if (vocabulary.kind(token) != TokenKind::kNormal || piece.empty()) continue;
    if (utf8_length(piece) != piece.size()) continue;
    char32_t character = utf8_first(piece);
    uint16_t& row = rows_[character >> 8];
    if (row == 0) {
      row = static_cast<uint16_t>(characters_.size());
      characters_.emplace_back();
    }
    uint32_t& place = characters_[row][character & 0xFF];
    if (place == 0) place = static_cast<uint32_t>(token) + 1;
  }
}

Result<void> Merges::add_merges(const Vocabulary& vocabulary, std::span<const Merge> merges) {
  if (merges.size() > kMaxMerges) {
    return Error{FACET_TOO_LARGE, "the vocabulary has " + std::to_string(merges.size()) +
                                      " merges, more than " + std::to_string(kMaxMerges)};
  }
  std::vector<Ends> ends(vocabulary.size());  // of the tokens that may have merges
  for (Token token = 0; vocabulary.contains(token); ++token) {
    std::string_view piece = vocabulary.piece(token);
    if (vocabulary.kind(token) == TokenKind::kNormal && is_utf8(piece))
      ends[static_cast<size_t>(token)] = ends_of(piece);
  }
  auto ends_of_symbol = [&](Symbol symbol) -> Ends {
    if (symbol < kCharacters) return ends[symbol];
    auto only = static_cast<uint8_t>(class_of(symbol - kCharacters));
    return {only, only};
  };
  slots_.resize(std::bit_ceil(2 * merges.size() + 2));
  shift_ = 64 - std::countr_zero(slots_.size());
  for (const Merge& merge : merges) {
    if (!insert(merge)) {
      return Error{FACET_MALFORMED,
                   "the vocabulary's merges collide at token " + std::to_string(merge.token)};
    }
    joins_[ends_of_symbol(merge.left).last].set(ends_of_symbol(merge.right).first);
  }
  return {};
}

size_t Merges::slot_of(Symbol left, Symbol right) const {
  uint64_t hash = (uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u;
  return hash >> shift_;
}

bool Merges::insert(const Merge& merge) {
  size_t at = slot_of(merge.left, merge.right);
  for (size_t probe = 0; probe < kMaxProbes; ++probe) {
    Slot& slot = slots_[(at + probe) & (slots_.size() - 1)];
    if (slot.merged.rank == kNoRank) {
      slot = {merge.left, merge.right, {merge.rank, merge.token}};
      return true;
    }
    if (slot.left == merge.left && slot.right == merge.right) return true;
  }
  return false;
}

Merges::Merged Merges::find(Symbol left, Symbol right) const {
  size_t at = slot_of(left, right);
  for (size_t probe = 0; probe < kMaxProbes; ++probe) {
    const Slot& slot = slots_[(at + probe) & (slots_.size() - 1)];
    if (slot.merged.rank == kNoRank) break;
    if (slot.left == left && slot.right == right) return slot.merged;
  }
  return {};
}

Symbol Merges::symbol_of(char32_t character) const {
  uint32_t place = characters_[rows_[character >> 8]][character & 0xFF];
  return place == 0 ? kCharacters + character : place - 1;
}

void Merges::encode(std::string_view text, std::vector<Token>& out) const {
  Word word(*this);
  unsigned before = 0;  // the class of the character before
  while (!text.empty()) {
    size_t length = text.starts_with(kSpaceMark) ? 0 : utf8_length(text);
    if (length == 0) {
      word.finish(out);
      out.push_back(bytes_[static_cast<unsigned char>(text.front())]);
      text.remove_prefix(1);
      continue;
    }
    char32_t character = text.front() == ' ' ? kSpaceMarkCharacter : utf8_first(text);
    unsigned now = class_of(character);
    if (!joins_[before][now]) word.finish(out);
    word.add(symbol_of(character));
    before = now;
    text.remove_prefix(length);
  }
  word.finish(out);
}

}  // namespace facet::text
