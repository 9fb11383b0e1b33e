#include "daemon/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "daemon/text/bpe.h"
#include "daemon/text/spm.h"

namespace facet::text {

Result<Tokenizer> Tokenizer::make(Vocabulary vocabulary) {
  bool listed = vocabulary.algorithm() == Algorithm::kBpe;
  FACET_TRY(Merges merges, listed ? make_bpe(vocabulary) : make_spm(vocabulary));
  vocabulary.forget_merges();
  Literals literals(vocabulary);
  return Tokenizer(std::move(vocabulary), std::move(literals), std::move(merges));
}

void Tokenizer::measure() {
  std::string text;
  for (Token token = 0; vocabulary_.contains(token); ++token) {
    if (vocabulary_.piece(token).size() <= longest_) continue;
    text.clear();
    append_bytes(token, true, text);
    longest_ = std::max(longest_, text.size());
  }
}

Result<std::vector<Token>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes) {
    return Error{FACET_TOO_LARGE, "the text has " + std::to_string(text.size()) + " bytes; at most " +
                                      std::to_string(kMaxTextBytes) + " are tokenized at once"};
  }
  std::vector<Token> out;
  if (options.bos && vocabulary_.bos()) out.push_back(*vocabulary_.bos());

  size_t done = 0;  // [done, at) waits for the algorithm
  auto flush = [&](size_t end) {
    std::string_view part = text.substr(done, end - done);
    if (done == 0 && !part.empty() && vocabulary_.add_space_prefix()) {
      merges_.encode(" " + std::string(part), out);
    } else {
      merges_.encode(part, out);
    }
  };
  for (size_t at = 0; at < text.size();) {
    auto literal = literals_.longest(vocabulary_, text.substr(at), options.special);
    if (!literal || std::binary_search(options.plain.begin(), options.plain.end(), *literal)) {
      ++at;
      continue;
    }
    flush(at);
    out.push_back(*literal);
    at += vocabulary_.piece(*literal).size();
    done = at;
  }
  flush(text.size());
  return out;
}

void Tokenizer::append_bytes(Token token, bool special, std::string& out) const {
  std::string_view piece = vocabulary_.piece(token);
  switch (vocabulary_.kind(token)) {
    case TokenKind::kByte:
      out += static_cast<char>(vocabulary_.byte(token));
      return;
    case TokenKind::kUserDefined:
      out += piece;
      return;
    case TokenKind::kNormal:
      for (size_t mark; (mark = piece.find(kSpaceMark)) != piece.npos;) {
        out.append(piece.substr(0, mark)) += ' ';
        piece.remove_prefix(mark + kSpaceMark.size());
      }
      out += piece;
      return;
    case TokenKind::kControl:
    case TokenKind::kUnknown:
    case TokenKind::kUnused:
      if (special) out += piece;
      return;
  }
}

Result<std::string> Tokenizer::decode(std::span<const Token> tokens, bool special) const {
  std::string out;
  bool prefixed = vocabulary_.add_space_prefix();  // and nothing of the text has come yet
  for (Token token : tokens) {
    if (!vocabulary_.contains(token)) {
      return Error{FACET_INVALID_ARGUMENT, std::to_string(token) + " is no token of this vocabulary of " +
                                               std::to_string(vocabulary_.size())};
    }
    size_t before = out.size();
    append_bytes(token, special, out);
    if (!prefixed || vocabulary_.kind(token) == TokenKind::kControl) continue;
    prefixed = false;
    if (!is_literal(vocabulary_.kind(token)) && before == 0 && out.starts_with(' ')) out.erase(0, 1);
  }
  return out;
}

}  // namespace facet::text
