// The chat parser: what a model says, mark by mark and text by text, into events while it comes.
//
// Gemma 4's answer is visible text with *thoughts* ("<|channel>thought\n...<channel|>") and *calls*
// ("<|tool_call>call:NAME{...}<tool_call|>") in it; Gemma 3's is visible text alone. What opens and closes
// them are marks, that is control tokens: the same letters made of other tokens are text.
#pragma once

#include <string_view>
#include <vector>

#include "daemon/text/chat_event.h"
#include "daemon/text/marked_text.h"

namespace facet::text {

// Beyond this many bytes a call counts as malformed. As JSON it can take six times as many.
inline constexpr size_t kMaxCallBytes = 256 << 10;

// A value. Text in is UTF-8 in whole characters (Utf8Stream's output), and so is what comes out. What comes
// out is the same however the text is cut, but for the cuts between events of one kind. All text comes out
// again, as one kind or the other, except for a channel's name and the last line end of a thought. A mark
// that means nothing where it stands is dropped, but the quote mark, which is text outside of calls.
class ChatParser {
 public:
  explicit ChatParser(ChatFamily family) : family_(family), call_(family) {}

  // Append to `events`.
  void push(Mark mark, std::vector<ChatEvent>& events);
  void push(std::string_view text, std::vector<ChatEvent>& events);
  // The end of the answer, wherever it is: what is held back comes out, an open call as malformed. The parser
  // is then as new.
  void finish(std::vector<ChatEvent>& events);

 private:
  enum class State : uint8_t {
    kText,
    kChannelName,  // the first line of a channel, or what may become it
    kThought,
    kCall,
    kBrokenCall,  // the rest of a call that is too long
  };

  void think(std::string_view text, std::vector<ChatEvent>& events);
  void name_channel(std::string_view text, std::vector<ChatEvent>& events);
  void grow_call(std::vector<ChatEvent>& events);
  void close_call(std::vector<ChatEvent>& events);
  // Leaves the state for kText, giving out what is held.
  void leave(std::vector<ChatEvent>& events);

  ChatFamily family_;
  State state_ = State::kText;
  std::string held_;  // of a channel's name; of a thought, its last line end
  MarkedText call_;   // between its marks
};

}  // namespace facet::text
