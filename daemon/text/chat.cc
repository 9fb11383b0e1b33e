#include "daemon/text/chat.h"

#include <algorithm>

#include "daemon/text/utf8.h"

namespace facet::text {
namespace {

// Counts the strings of a chat and checks each; the first error stays.
class Check {
 public:
  void string(std::string_view text, const std::string& field) {
    bytes_ += text.size();
    if (!error_.message.empty()) return;
    if (bytes_ > kMaxChatBytes) {
      error_ = {FACET_TOO_LARGE,
                "the chat has more than " + std::to_string(kMaxChatBytes) + " bytes at " + field};
    } else if (!is_utf8(text)) {
      error_ = {FACET_INVALID_ARGUMENT, field + " is not UTF-8"};
    }
  }

  void count(size_t count, size_t most, const std::string& field) {
    if (!error_.message.empty() || count <= most) return;
    error_ = {FACET_TOO_LARGE, field + " has " + std::to_string(count) + " elements; at most " +
                                   std::to_string(most) + " are allowed"};
  }

  void name(std::string_view name, const std::string& field) {
    string(name, field);
    if (!error_.message.empty()) return;
    if (auto checked = check_tool_name(name, field); !checked.ok()) error_ = checked.error();
  }

  bool failed() const { return !error_.message.empty(); }
  Result<void> result() && {
    if (failed()) return std::move(error_);
    return {};
  }

 private:
  size_t bytes_ = 0;
  Error error_{FACET_OK, ""};
};

std::string element(const std::string& field, size_t index) {
  return field + "[" + std::to_string(index) + "]";
}

void check_message(const ChatMessage& message, const std::string& field, Check& check) {
  check.count(message.content.size(), kMaxContentParts, field + ".content");
  check.count(message.tool_calls.size(), kMaxToolCalls, field + ".tool_calls");
  check.count(message.tool_responses.size(), kMaxToolCalls, field + ".tool_responses");
  for (size_t i = 0; i < message.content.size() && !check.failed(); ++i) {
    check.string(message.content[i].text, element(field + ".content", i) + ".text");
  }
  for (size_t i = 0; i < message.tool_calls.size() && !check.failed(); ++i) {
    const ToolCall& call = message.tool_calls[i];
    const std::string at = element(field + ".tool_calls", i);
    check.string(call.id, at + ".id");
    check.name(call.name, at + ".name");
    check.string(call.arguments, at + ".arguments");
  }
  for (size_t i = 0; i < message.tool_responses.size() && !check.failed(); ++i) {
    const ToolResponse& response = message.tool_responses[i];
    const std::string at = element(field + ".tool_responses", i);
    if (!response.name.empty()) check.name(response.name, at + ".name");
    check.string(response.response, at + ".response");
  }
  check.string(message.reasoning, field + ".reasoning");
  check.string(message.tool_call_id, field + ".tool_call_id");
  if (!message.name.empty()) check.name(message.name, field + ".name");
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kDeveloper:
      return "developer";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
    case Role::kTool:
      return "tool";
  }
  return "";
}

Result<void> check_tool_name(std::string_view name, std::string_view field) {
  constexpr std::string_view kAllowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:";
  if (name.empty()) return Error{FACET_INVALID_ARGUMENT, std::string(field) + " is empty"};
  if (name.size() > kMaxToolNameBytes) {
    return Error{FACET_INVALID_ARGUMENT,
                 std::string(field) + " is longer than " + std::to_string(kMaxToolNameBytes) + " bytes"};
  }
  if (size_t odd = name.find_first_not_of(kAllowed); odd != name.npos) {
    return Error{FACET_INVALID_ARGUMENT,
                 std::string(field) +
                     " has something else than ASCII letters, digits and \"_-./:\" at "
                     "byte " +
                     std::to_string(odd)};
  }
  return {};
}

Result<void> check_chat(const Chat& chat) {
  Check check;
  if (chat.messages.empty()) return Error{FACET_INVALID_ARGUMENT, "messages is empty"};
  check.count(chat.messages.size(), kMaxChatMessages, "messages");
  check.count(chat.tools.size(), kMaxTools, "tools");
  for (size_t i = 0; i < chat.messages.size() && !check.failed(); ++i) {
    check_message(chat.messages[i], element("messages", i), check);
  }
  for (size_t i = 0; i < chat.tools.size() && !check.failed(); ++i) {
    check.string(chat.tools[i], element("tools", i));
  }
  return std::move(check).result();
}

}  // namespace facet::text
