// The tokens of a model as plain data.
//
// A *token* is a number in [0, size). Its *piece* is the text it stands for, its *kind* says how that is to
// be read: a normal piece writes a space as "▁" (U+2581); a byte token "<0x0A>" stands for that byte; a
// user-defined piece is literal text that always becomes its own token; a control token ("<bos>",
// "<end_of_turn>") has a name rather than a text. Its *score* says which pieces are built first. *BOS* opens
// a sequence, a token that *ends generation* closes an answer, a *suppressed* one is never generated,
// *unknown* stands for what nothing else can. The *algorithm* makes pieces out of text: from their scores, or
// by *merges*, each two pieces with a space between that become one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace facet::text {

using Token = int32_t;

// The numbers are those of GGUF.
enum class TokenKind : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

enum class Algorithm : uint8_t {
  kSpm,  // spm.h
  kBpe,  // bpe.h
};

inline constexpr std::string_view kSpaceMark = "\u2581";
inline constexpr size_t kMaxVocabulary = 1 << 24;
inline constexpr size_t kMaxPieceBytes = 1024;
inline constexpr size_t kMaxMerges = 1 << 22;

// What a vocabulary is made of: one element per token in the first three vectors.
struct VocabularyParts {
  std::vector<std::string_view> pieces;  // of memory that outlives the vocabulary
  std::vector<float> scores;
  std::vector<TokenKind> kinds;
  Algorithm algorithm = Algorithm::kSpm;
  std::vector<std::string_view> merges;  // of kBpe, the most urgent first; of the same memory
  std::optional<Token> bos, eos, unknown;
  std::vector<Token> end_of_generation;  // in any order; `eos` is added
  std::vector<Token> suppressed;         // in any order
  bool add_bos = false;
  bool add_space_prefix = false;
};

// Movable, and immutable but for its merges. The pieces are views: whoever owns their memory (the mapped
// model file) lives longer.
class Vocabulary {
 public:
  // FACET_MALFORMED, naming the token, if the vectors differ in length, are empty or longer than
  // kMaxVocabulary, a piece is longer than kMaxPieceBytes, a score is not a number, a kind is none, a byte
  // token is not written "<0xXX>", or a special id is no token; if all tokens are suppressed; if there are no
  // merges or more than kMaxMerges where the algorithm needs them.
  static Result<Vocabulary> make(VocabularyParts parts);

  size_t size() const { return parts_.pieces.size(); }
  bool contains(Token token) const { return token >= 0 && static_cast<size_t>(token) < size(); }

  // Of a token that contains() accepts.
  std::string_view piece(Token token) const { return parts_.pieces[static_cast<size_t>(token)]; }
  float score(Token token) const { return parts_.scores[static_cast<size_t>(token)]; }
  TokenKind kind(Token token) const { return parts_.kinds[static_cast<size_t>(token)]; }
  uint8_t byte(Token token) const;  // what a byte token stands for

  Algorithm algorithm() const { return parts_.algorithm; }
  std::span<const std::string_view> merges() const { return parts_.merges; }
  // Frees the memory of merges(), which nobody needs once there is a tokenizer.
  void forget_merges() { parts_.merges = {}; }

  std::optional<Token> bos() const { return parts_.bos; }
  std::optional<Token> eos() const { return parts_.eos; }
  std::optional<Token> unknown() const { return parts_.unknown; }
  // Whether the model expects BOS before a prompt.
  bool add_bos() const { return parts_.add_bos; }
  // Whether text is encoded as if a space stood before it.
  bool add_space_prefix() const { return parts_.add_space_prefix; }

  // The tokens that end an answer, ascending.
  std::span<const Token> end_of_generation() const { return parts_.end_of_generation; }
  bool ends_generation(Token token) const;
  // The tokens that no answer may hold, ascending.
  std::span<const Token> suppressed() const { return parts_.suppressed; }

 private:
  explicit Vocabulary(VocabularyParts parts) : parts_(std::move(parts)) {}
  VocabularyParts parts_;
};

}  // namespace facet::text
