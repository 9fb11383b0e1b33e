// A chat as plain data: what an app hands in and a chat format turns into a prompt.
//
// A *message* has a role and content in *parts*. An assistant's message may hold *tool calls*; a call is
// answered either by a message of the role tool that names the call's id, or by a *tool response* in the
// assistant's message itself. *Reasoning* is the thought that went before a message. A *tool declaration*
// tells the model what it may call.
//
// "JSON" in a comment means JSON text, UTF-8, nested at most kMaxJsonDepth deep.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"

namespace facet::text {

inline constexpr size_t kMaxChatMessages = 65536;
inline constexpr size_t kMaxContentParts = 4096;  // of one message
inline constexpr size_t kMaxToolCalls = 1024;     // of one message; responses too
inline constexpr size_t kMaxTools = 1024;
inline constexpr int kMaxJsonDepth = 64;
inline constexpr size_t kMaxToolNameBytes = 128;
inline constexpr size_t kMaxChatBytes = 4 << 20;  // of all strings together

enum class Role : uint8_t { kSystem, kDeveloper, kUser, kAssistant, kTool };

// "system", "developer", "user", "assistant", "tool".
std::string_view role_name(Role role);

enum class PartKind : uint8_t { kText, kImage, kAudio, kVideo };

struct ContentPart {
  PartKind kind = PartKind::kText;
  std::string text;  // of a text
};

struct ToolCall {
  std::string id;         // chosen by whoever made the call; may be empty
  std::string name;       // see check_tool_name()
  std::string arguments;  // a JSON object
};

struct ToolResponse {
  std::string name;      // of the tool; empty: unknown
  std::string response;  // JSON
};

struct ChatMessage {
  Role role = Role::kUser;
  std::vector<ContentPart> content;
  std::string reasoning;                     // assistant
  std::vector<ToolCall> tool_calls;          // assistant
  std::vector<ToolResponse> tool_responses;  // assistant
  std::string tool_call_id;                  // tool: the id of the call it answers
  std::string name;                          // tool: the tool's name, if no call has that id
};

struct Chat {
  std::vector<ChatMessage> messages;
  // Each a declaration as OpenAI's API has it, a JSON object: {"type":"function","function":{"name":"...",
  // "description":"...","parameters":{a JSON schema}}}, where the function may have a "response" too.
  std::vector<std::string> tools;
  bool thinking = false;              // the model may think before it answers
  bool add_generation_prompt = true;  // the prompt ends where the model's answer begins
};

// A name is 1 to kMaxToolNameBytes of ASCII letters, digits and "_-./:". invalid_argument otherwise, naming
// `field`.
Result<void> check_tool_name(std::string_view name, std::string_view field);

// That a chat has messages, keeps the bounds above and holds UTF-8 only. The errors (invalid_argument,
// too_large) name the field as "messages[3].content[0].text". JSON is looked at by whoever renders it.
Result<void> check_chat(const Chat& chat);

}  // namespace facet::text
