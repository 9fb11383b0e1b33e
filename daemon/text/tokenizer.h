// Text to tokens and back.
//
// The *literal* tokens of the vocabulary cut the text first: user-defined pieces always, control tokens only
// where the caller says so, since text of a user must not open or close a turn. What stands between them goes
// through the vocabulary's merges (merges.h).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/text/literals.h"
#include "daemon/text/merges.h"
#include "daemon/text/vocabulary.h"

namespace facet::text {

struct EncodeOptions {
  bool special = false;               // read the names of control tokens as these tokens
  bool bos = false;                   // put BOS in front, if the vocabulary has one
  std::span<const Token> plain = {};  // user-defined tokens whose text is not read as them; ascending
};

// Owns its vocabulary. Immutable: calls may run at the same time. Costs about 90 bytes per token of a
// vocabulary like Gemma's.
class Tokenizer {
 public:
  // Beyond this a text is refused as FACET_TOO_LARGE. Ordinary text takes 40 ns per byte, a text without
  // words up to 200. Encoding needs up to 80 bytes of memory per byte of its longest word.
  static constexpr size_t kMaxTextBytes = 4 << 20;

  // Errors as make_spm() or make_bpe().
  static Result<Tokenizer> make(Vocabulary vocabulary);

  const Vocabulary& vocabulary() const { return vocabulary_; }

  // Any bytes: what is not UTF-8 becomes byte tokens. decode() gives back exactly `text` (with `special` if
  // it was encoded so), if the vocabulary has all byte tokens.
  Result<std::vector<Token>> encode(std::string_view text, EncodeOptions options = {}) const;

  // No text of so many bytes has fewer tokens. Takes no time: a text that cannot fit is refused by it.
  size_t fewest_tokens(size_t bytes) const { return (bytes + longest_ - 1) / longest_; }

  // The bytes of the tokens one after the other, without the space that encode() put in front if the
  // vocabulary asks for one. Control tokens write their name with `special` and nothing without.
  // FACET_INVALID_ARGUMENT, naming it, for a number that is no token.
  Result<std::string> decode(std::span<const Token> tokens, bool special = false) const;

  // Appends the bytes of one token, which vocabulary().contains(); they may be a part of a character.
  void append_bytes(Token token, bool special, std::string& out) const;

 private:
  Tokenizer(Vocabulary vocabulary, Literals literals, Merges merges)
      : vocabulary_(std::move(vocabulary)), literals_(std::move(literals)), merges_(std::move(merges)) {
    measure();
  }
  void measure();

  Vocabulary vocabulary_;
  Literals literals_;
  Merges merges_;
  size_t longest_ = 1;  // bytes of text that one token can stand for, at most
};

}  // namespace facet::text
