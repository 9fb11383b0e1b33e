// What a model says, cut into *events*: the pieces that the chat parser makes of a generated answer and that
// wire and SDK carry apart from each other.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/text/chat.h"

namespace facet::text {

enum class ChatEventKind : uint8_t {
  kText,           // a stretch of the visible answer
  kThought,        // a stretch of the thought channel
  kToolCall,       // a whole call
  kMalformedCall,  // what stands where a call should, as the model wrote it
};

struct ChatEvent {
  ChatEventKind kind = ChatEventKind::kText;
  std::string text;  // whole characters of UTF-8; empty for a tool call
  ToolCall call;     // of kToolCall: name and arguments, a JSON object; the id is left to the caller
};

}  // namespace facet::text
