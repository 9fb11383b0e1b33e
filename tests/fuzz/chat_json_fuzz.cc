// Any bytes as a chat in JSON: refused with a short reason, or written by every family as UTF-8 whose marks
// stand where they say, with calls that are read back.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/text/chat_format.h"
#include "daemon/text/chat_json.h"
#include "daemon/text/chat_parser.h"
#include "daemon/text/utf8.h"

namespace {

using namespace facet::text;

void require(bool truth) {
  if (!truth) std::abort();
}

void check(ChatFamily family, const MarkedText& prompt, size_t calls) {
  const std::string_view text = prompt.text();
  require(is_utf8(text));
  ChatParser parser(family);
  std::vector<ChatEvent> events;
  size_t end = 0;
  for (const PlacedMark& placed : prompt.marks()) {
    const std::string_view name = mark_name(family, placed.mark);
    require(placed.at >= end && !name.empty() && text.substr(placed.at).starts_with(name));
    parser.push(text.substr(end, placed.at - end), events);
    parser.push(placed.mark, events);
    end = placed.at + name.size();
  }
  parser.push(text.substr(end), events);
  parser.finish(events);
  size_t read = 0;
  for (const ChatEvent& event : events) {
    require(event.kind != ChatEventKind::kMalformedCall);
    if (event.kind == ChatEventKind::kToolCall) ++read;
  }
  require(read <= calls);  // calls of others than the assistant are not written
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto chat = read_chat(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!chat) {
    require(chat.error().message.size() < 1000);
    return 0;
  }
  size_t calls = 0;
  for (const ChatMessage& message : chat->messages) calls += message.tool_calls.size();
  for (ChatFamily family : {ChatFamily::kGemma3, ChatFamily::kGemma4, ChatFamily::kGemma4Small}) {
    auto prompt = render_chat(family, *chat);
    if (prompt) {
      check(family, *prompt, calls);
    } else {
      require(prompt.error().message.size() < 1000);
    }
  }
  return 0;
}
