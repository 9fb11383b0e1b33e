// A chat format: how a family of models writes a chat, as text with marks and as tokens.
//
// Both formats are those of the newest official chat templates, in code of our own; docs/chat.md says how
// they look. What an app sends is plain text in them, always: a mark comes from the format alone.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/text/chat.h"
#include "daemon/text/marked_text.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/vocabulary.h"

namespace facet::text {

// Of the models with this `general.architecture`; none if we know no chat format for them. The chat template
// that comes with a model, empty if there is none, tells only the small Gemma 4 models from the others.
std::optional<ChatFamily> chat_family(std::string_view architecture, std::string_view chat_template);

// The prompt, with BOS in front. Errors: those of check_chat(); malformed, too_large or invalid_argument,
// naming the field, for JSON that is none, is nested too deep, or is no declaration; unsupported, naming the
// field, for what the family cannot do.
Result<MarkedText> render_chat(ChatFamily family, const Chat& chat);

// The tokens of a family's marks in one vocabulary. Immutable: calls may run at the same time.
class ChatFormat {
 public:
  // unsupported, naming it, if a mark that every chat needs is no token of the vocabulary.
  static Result<ChatFormat> make(ChatFamily family, const Vocabulary& vocabulary);

  ChatFamily family() const { return family_; }

  // Plain text is tokenized as such, stretch by stretch; marks become their tokens. unsupported, naming it,
  // for a mark that the vocabulary does not have, and the errors of Tokenizer::encode(). The tokenizer is
  // that of the vocabulary.
  Result<std::vector<Token>> encode(const Tokenizer& tokenizer, const MarkedText& prompt) const;

  // What a generated token is, if it is no text.
  std::optional<Mark> mark(Token token) const;

 private:
  explicit ChatFormat(ChatFamily family) : family_(family) { tokens_.fill(-1); }

  ChatFamily family_;
  std::array<Token, kMarks> tokens_;  // of each mark; -1: the vocabulary has none
  std::vector<Token> literal_;        // user-defined tokens among them, ascending
};

}  // namespace facet::text
