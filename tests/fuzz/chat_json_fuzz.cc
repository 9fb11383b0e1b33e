// Any bytes as a chat in JSON: refused with a short reason, or written by every family as UTF-8 whose marks
// stand where they say.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "daemon/text/chat_format.h"
#include "daemon/text/chat_json.h"
#include "daemon/text/utf8.h"

namespace {

using namespace facet::text;

void require(bool truth) {
  if (!truth) std::abort();
}

void check(ChatFamily family, const MarkedText& prompt) {
  const std::string_view text = prompt.text();
  require(is_utf8(text));
  size_t end = 0;
  for (const PlacedMark& placed : prompt.marks()) {
    const std::string_view name = mark_name(family, placed.mark);
    require(placed.at >= end && !name.empty() && text.substr(placed.at).starts_with(name));
    end = placed.at + name.size();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto chat = read_chat(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!chat) {
    require(chat.error().message.size() < 1000);
    return 0;
  }
  for (ChatFamily family : {ChatFamily::kGemma3, ChatFamily::kGemma4, ChatFamily::kGemma4Small}) {
    auto prompt = render_chat(family, *chat);
    if (prompt) {
      check(family, *prompt);
    } else {
      require(prompt.error().message.size() < 1000);
    }
  }
  return 0;
}
