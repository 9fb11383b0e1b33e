// The text of an answer: generated tokens in, what may be shown out.
//
// What comes out is in whole characters, and ends before the first stop string. Of an answer to a *chat*, the
// marks of the format are read: what stands between them comes out as *parts* (thoughts, tool calls), and
// what is left is the visible text. Stop strings are looked for in the visible text alone; one does not span
// a part.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "daemon/text/chat_format.h"
#include "daemon/text/chat_parser.h"
#include "daemon/text/stop_matcher.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/utf8_stream.h"
#include "sdk/protocol/messages.h"

namespace facet::engine {

class AnswerText {
 public:
  // The text comes before the parts in the model's words: only a mark ends a stretch of text, and it
  // does so before it makes a part.
  struct Shown {
    std::string text;
    std::vector<protocol::Part> parts;
  };

  // An answer that is text alone. The tokenizer outlives this.
  AnswerText(const text::Tokenizer& tokenizer, text::StopMatcher stops);
  // Makes it the answer to a chat, in this format, which outlives it too. Tool calls get the ids
  // "call_<number>", from `first_call` on.
  void read_chat(const text::ChatFormat& format, size_t first_call);

  // Whether the token ends what the model has to say.
  bool ends(text::Token token) const;
  Shown push(text::Token token);
  // The end of the answer: what was held back.
  Shown finish();

  // A stop string came: nothing comes out any more.
  bool stopped() const { return stops_.matched(); }
  bool called_tools() const { return called_tools_; }

 private:
  void show(std::vector<text::ChatEvent>&& events, Shown& shown);

  const text::Tokenizer* tokenizer_;
  text::Utf8Stream utf8_;
  text::StopMatcher stops_;
  // Of a chat:
  const text::ChatFormat* format_ = nullptr;
  std::optional<text::ChatParser> parser_;
  size_t next_call_ = 0;
  bool called_tools_ = false;
};

}  // namespace facet::engine
