// Gemma 3: turns of user and model in alternation; what the system says stands in front of the first user's
// words. No thoughts, no tools.
#include "daemon/text/chat_gemma.h"

namespace facet::text {
namespace {

Error unsupported(const std::string& field, const std::string& what) {
  return {FACET_UNSUPPORTED, field + ": Gemma 3's chat format has no " + what};
}

Result<void> write_content(const ChatMessage& message, const std::string& field, MarkedText& out) {
  for (size_t i = 0; i < message.content.size(); ++i) {
    const ContentPart& part = message.content[i];
    switch (part.kind) {
      case PartKind::kText:
        out.add(trim(part.text));
        break;
      case PartKind::kImage:
        out.add(Mark::kImage);
        break;
      case PartKind::kAudio:
      case PartKind::kVideo:
        return unsupported(field + ".content[" + std::to_string(i) + "]", "audio and no video");
    }
  }
  return {};
}

Result<std::string> system_text(const ChatMessage& message) {
  std::string text;
  for (const ContentPart& part : message.content) {
    if (part.kind != PartKind::kText)
      return unsupported("messages[0].content", "images in the system's text");
    text += part.text;
  }
  return text + "\n\n";
}

// Turn number `turn`, counted from 0.
Result<void> check_role(const ChatMessage& message, size_t turn, const std::string& field) {
  if (message.role == Role::kTool) return unsupported(field + ".role", "tools");
  if (!message.tool_calls.empty()) return unsupported(field + ".tool_calls", "tools");
  if (!message.tool_responses.empty()) return unsupported(field + ".tool_responses", "tools");
  const Role expected = turn % 2 == 0 ? Role::kUser : Role::kAssistant;
  if (message.role != expected) {
    return Error{FACET_INVALID_ARGUMENT, field + ".role is " + std::string(role_name(message.role)) +
                                             " where Gemma 3's chat format has " +
                                             std::string(role_name(expected))};
  }
  return {};
}

}  // namespace

Result<MarkedText> render_gemma3(const Chat& chat) {
  if (chat.thinking) return unsupported("enable_thinking", "thoughts");
  if (!chat.tools.empty()) return unsupported("tools", "tools");
  MarkedText out(ChatFamily::kGemma3);
  out.add(Mark::kBos);

  std::string prefix;
  size_t begin = 0;
  if (const Role role = chat.messages[0].role; role == Role::kSystem || role == Role::kDeveloper) {
    FACET_TRY(prefix, system_text(chat.messages[0]));
    begin = 1;
    if (chat.messages.size() == 1) {
      return Error{FACET_INVALID_ARGUMENT,
                   "messages has no user, in whose turn Gemma 3's chat format puts the system's text"};
    }
  }
  for (size_t i = begin; i < chat.messages.size(); ++i) {
    const ChatMessage& message = chat.messages[i];
    const std::string field = "messages[" + std::to_string(i) + "]";
    FACET_CHECK(check_role(message, i - begin, field));
    out.add(Mark::kTurnOpen);
    out.add(message.role == Role::kUser ? "user\n" : "model\n");
    if (i == begin) out.add(prefix);
    FACET_CHECK(write_content(message, field, out));
    out.add(Mark::kTurnClose);
    out.add("\n");
  }
  if (chat.add_generation_prompt) {
    out.add(Mark::kTurnOpen);
    out.add("model\n");
  }
  return out;
}

}  // namespace facet::text
