// The structs of a chat and of the parts of its answer.
#include "sdk/protocol/codec_structs.h"
#include "sdk/protocol/limits.h"

namespace facet::protocol {
namespace {

Result<void> read(wire::ToolCall::Reader from, ToolCall& to) {
  FACET_CHECK(read_text(from.getId(), kMaxNameBytes, "a tool call's id", to.id));
  FACET_CHECK(read_text(from.getName(), kMaxNameBytes, "a tool's name", to.name));
  return read_text(from.getArguments(), kMaxArgumentsBytes, "a tool call's arguments", to.arguments);
}

Result<void> write(const ToolCall& from, wire::ToolCall::Builder to) {
  FACET_TRY(auto id, checked_text(from.id, kMaxNameBytes, "a tool call's id"));
  FACET_TRY(auto name, checked_text(from.name, kMaxNameBytes, "a tool's name"));
  FACET_TRY(auto arguments, checked_text(from.arguments, kMaxArgumentsBytes, "a tool call's arguments"));
  to.setId(id);
  to.setName(name);
  to.setArguments(arguments);
  return {};
}

Result<void> read(wire::ContentPart::Reader from, ContentPart& to) {
  if (from.isText()) return read_text(from.getText(), kMaxMessageBytes, "a message's text", to.text);
  return Error{FACET_UNSUPPORTED, "content of an unknown kind, " + std::to_string(from.which())};
}

constexpr char kChatParts[] = "content parts and tool calls in a chat";

// `parts`: content parts and tool calls of the chat so far.
Result<void> read(wire::Message::Reader from, size_t& parts, Message& to) {
  FACET_CHECK(read_enum(from.getRole(), Role::kTool, "a role", to.role));
  auto content = from.getContent();
  FACET_CHECK(check_count(content.size(), kMaxContentParts, "content parts in a message"));
  FACET_CHECK(check_count(parts += content.size(), kMaxChatParts, kChatParts));
  to.content.resize(content.size());
  for (unsigned i = 0; i < content.size(); ++i) FACET_CHECK(read(content[i], to.content[i]));
  FACET_CHECK(read_text(from.getThought(), kMaxMessageBytes, "a message's thought", to.thought));
  auto calls = from.getToolCalls();
  FACET_CHECK(check_count(calls.size(), kMaxToolCalls, "tool calls in a message"));
  FACET_CHECK(check_count(parts += calls.size(), kMaxChatParts, kChatParts));
  to.tool_calls.resize(calls.size());
  for (unsigned i = 0; i < calls.size(); ++i) FACET_CHECK(read(calls[i], to.tool_calls[i]));
  FACET_CHECK(read_text(from.getToolCallId(), kMaxNameBytes, "a tool call's id", to.tool_call_id));
  return read_text(from.getToolName(), kMaxNameBytes, "a tool's name", to.tool_name);
}

Result<void> write(const Message& from, wire::Message::Builder to) {
  FACET_CHECK(check_count(from.content.size(), kMaxContentParts, "content parts in a message"));
  FACET_CHECK(check_count(from.tool_calls.size(), kMaxToolCalls, "tool calls in a message"));
  FACET_TRY(auto thought, checked_text(from.thought, kMaxMessageBytes, "a message's thought"));
  FACET_TRY(auto call_id, checked_text(from.tool_call_id, kMaxNameBytes, "a tool call's id"));
  FACET_TRY(auto tool_name, checked_text(from.tool_name, kMaxNameBytes, "a tool's name"));
  to.setRole(wire_enum<wire::Role>(from.role));
  if (!from.content.empty()) {
    auto content = to.initContent(from.content.size());
    for (unsigned i = 0; i < content.size(); ++i) {
      FACET_TRY(auto text, checked_text(from.content[i].text, kMaxMessageBytes, "a message's text"));
      content[i].setText(text);
    }
  }
  if (!from.thought.empty()) to.setThought(thought);
  if (!from.tool_calls.empty()) {
    auto calls = to.initToolCalls(from.tool_calls.size());
    for (unsigned i = 0; i < calls.size(); ++i) FACET_CHECK(write(from.tool_calls[i], calls[i]));
  }
  if (!from.tool_call_id.empty()) to.setToolCallId(call_id);
  if (!from.tool_name.empty()) to.setToolName(tool_name);
  return {};
}

Result<void> check_parts(const std::vector<Message>& messages) {
  size_t parts = 0;
  for (const auto& message : messages) parts += message.content.size() + message.tool_calls.size();
  return check_count(parts, kMaxChatParts, kChatParts);
}

Result<void> check_tools_bytes(const std::vector<std::string>& tools) {
  size_t bytes = 0;
  for (const auto& tool : tools) bytes += tool.size();
  return check_length(bytes, kMaxToolsBytes, "all tool declarations");
}

Result<void> read(wire::Part::Reader from, Part& to) {
  switch (from.which()) {
    case wire::Part::THOUGHT:
      return read_text(from.getThought(), kMaxTokenTextBytes, "a thought", to.emplace<Thought>().text);
    case wire::Part::TOOL_CALL:
      return read(from.getToolCall(), to.emplace<ToolCall>());
    case wire::Part::MALFORMED_CALL:
      return read_text(from.getMalformedCall(), kMaxArgumentsBytes, "a malformed call",
                       to.emplace<MalformedCall>().text);
  }
  return Error{FACET_UNSUPPORTED, "a part of an unknown kind, " + std::to_string(from.which())};
}

Result<void> write(const Part& from, wire::Part::Builder to) {
  if (auto* call = std::get_if<ToolCall>(&from)) return write(*call, to.initToolCall());
  if (auto* thought = std::get_if<Thought>(&from)) {
    FACET_TRY(auto text, checked_text(thought->text, kMaxTokenTextBytes, "a thought"));
    to.setThought(text);
    return {};
  }
  const auto& malformed = std::get<MalformedCall>(from);
  FACET_TRY(auto text, checked_text(malformed.text, kMaxArgumentsBytes, "a malformed call"));
  to.setMalformedCall(text);
  return {};
}

}  // namespace

Result<void> read(wire::Chat::Reader from, Chat& to) {
  auto messages = from.getMessages();
  FACET_CHECK(check_count(messages.size(), kMaxChatMessages, "messages in a chat"));
  to.messages.resize(messages.size());
  size_t parts = 0;
  for (unsigned i = 0; i < messages.size(); ++i) FACET_CHECK(read(messages[i], parts, to.messages[i]));
  auto tools = from.getTools();
  FACET_CHECK(check_count(tools.size(), kMaxTools, "tools"));
  to.tools.resize(tools.size());
  for (unsigned i = 0; i < tools.size(); ++i) {
    FACET_CHECK(read_text(tools[i], kMaxToolsBytes, "a tool declaration", to.tools[i]));
  }
  to.thinking = from.getThinking();
  to.add_generation_prompt = from.getAddGenerationPrompt();
  return check_tools_bytes(to.tools);
}

Result<void> write(const Chat& from, wire::Chat::Builder to) {
  FACET_CHECK(check_count(from.messages.size(), kMaxChatMessages, "messages in a chat"));
  FACET_CHECK(check_count(from.tools.size(), kMaxTools, "tools"));
  FACET_CHECK(check_parts(from.messages));
  FACET_CHECK(check_tools_bytes(from.tools));
  auto messages = to.initMessages(from.messages.size());
  for (unsigned i = 0; i < messages.size(); ++i) FACET_CHECK(write(from.messages[i], messages[i]));
  if (!from.tools.empty()) {
    auto tools = to.initTools(from.tools.size());
    for (unsigned i = 0; i < tools.size(); ++i) {
      FACET_TRY(auto tool, checked_text(from.tools[i], kMaxToolsBytes, "a tool declaration"));
      tools.set(i, tool);
    }
  }
  to.setThinking(from.thinking);
  to.setAddGenerationPrompt(from.add_generation_prompt);
  return {};
}

Result<void> read(capnp::List<wire::Part>::Reader from, std::vector<Part>& to) {
  FACET_CHECK(check_count(from.size(), kMaxParts, "parts of an answer"));
  to.resize(from.size());
  for (unsigned i = 0; i < from.size(); ++i) FACET_CHECK(read(from[i], to[i]));
  return {};
}

Result<void> write(const std::vector<Part>& from, capnp::List<wire::Part>::Builder to) {
  for (unsigned i = 0; i < to.size(); ++i) FACET_CHECK(write(from[i], to[i]));
  return {};
}

}  // namespace facet::protocol
