#include "daemon/text/chat_json.h"

#include <utility>

#include "daemon/text/json_value.h"

namespace facet::text {
namespace {

using Kind = JsonValue::Kind;

// Above the chat's own nesting there is room for a tool's.
constexpr JsonBounds kBounds{.depth = kMaxJsonDepth + 8, .values = 2 << 20};

Error invalid(const std::string& field, const std::string& why) {
  return {FACET_INVALID_ARGUMENT, field + " " + why};
}

std::string element(const std::string& field, size_t index) {
  return field + "[" + std::to_string(index) + "]";
}

// The member `key`, or nothing if it is missing or null.
const JsonValue* member(const JsonValue& object, std::string_view key) {
  const JsonValue* found = object.find(key);
  return found && !found->is(Kind::kNull) ? found : nullptr;
}

Result<bool> boolean(const JsonValue& object, const std::string& key, bool missing) {
  const JsonValue* found = member(object, key);
  if (!found) return missing;
  if (!found->is(Kind::kBoolean)) return invalid(key, "is no boolean");
  return found->boolean;
}

Result<std::string> string(const JsonValue& object, const std::string& key, const std::string& field) {
  const JsonValue* found = member(object, key);
  if (!found) return std::string();
  if (!found->is(Kind::kString)) return invalid(field + "." + key, "is no string");
  return found->text;
}

// Calls `read` with each object of the array `key`, which may be missing, and its field.
template <typename Read>
Result<void> each(const JsonValue& object, const std::string& key, const std::string& field, Read read) {
  const JsonValue* found = member(object, key);
  if (!found) return {};
  if (!found->is(Kind::kArray)) return invalid(field, "is no array");
  for (size_t i = 0; i < found->items.size(); ++i) {
    if (!found->items[i].is(Kind::kObject)) return invalid(element(field, i), "is no object");
    FACET_CHECK(read(found->items[i], element(field, i)));
  }
  return {};
}

Result<Role> role_of(const JsonValue& message, const std::string& field) {
  FACET_TRY(const std::string name, string(message, "role", field));
  for (Role role : {Role::kSystem, Role::kDeveloper, Role::kUser, Role::kAssistant, Role::kTool}) {
    if (name == role_name(role)) return role;
  }
  return invalid(field + ".role", "is none of system, developer, user, assistant and tool");
}

Result<ContentPart> part_of(const JsonValue& part, const std::string& field) {
  constexpr std::pair<std::string_view, PartKind> kKinds[] = {
      {"text", PartKind::kText},   {"image", PartKind::kImage},       {"image_url", PartKind::kImage},
      {"audio", PartKind::kAudio}, {"input_audio", PartKind::kAudio}, {"video", PartKind::kVideo}};
  FACET_TRY(const std::string type, string(part, "type", field));
  for (const auto& [name, kind] : kKinds) {
    if (name != type) continue;
    ContentPart read{kind, ""};
    if (kind == PartKind::kText) {
      if (!member(part, "text")) return invalid(field + ".text", "is missing");
      FACET_TRY(read.text, string(part, "text", field));
    }
    return read;
  }
  return Error{FACET_UNSUPPORTED, field + ".type is none of text, image, audio and video"};
}

Result<std::vector<ContentPart>> content_of(const JsonValue& message, const std::string& field) {
  std::vector<ContentPart> parts;
  const JsonValue* content = member(message, "content");
  if (!content) return parts;
  if (content->is(Kind::kString)) {
    parts.push_back({PartKind::kText, content->text});
    return parts;
  }
  FACET_CHECK(each(message, "content", field + ".content",
                   [&](const JsonValue& part, const std::string& at) -> Result<void> {
                     FACET_TRY(ContentPart read, part_of(part, at));
                     parts.push_back(std::move(read));
                     return {};
                   }));
  if (parts.empty()) parts.emplace_back();  // an empty list is an empty text, and not null
  return parts;
}

Result<ToolCall> call_of(const JsonValue& call, const std::string& field) {
  ToolCall read;
  FACET_TRY(read.id, string(call, "id", field));
  const JsonValue* function = member(call, "function");
  const std::string at = field + ".function";
  if (!function || !function->is(Kind::kObject)) return invalid(at, "is no object");
  FACET_TRY(read.name, string(*function, "name", at));
  if (const JsonValue* arguments = member(*function, "arguments")) {
    if (arguments->is(Kind::kString)) {
      read.arguments = arguments->text;
    } else {
      write_json(*arguments, read.arguments);
    }
  }
  return read;
}

Result<ToolResponse> response_of(const JsonValue& response, const std::string& field) {
  ToolResponse read;
  FACET_TRY(read.name, string(response, "name", field));
  const JsonValue* value = response.find("response");
  if (!value) return invalid(field + ".response", "is missing");
  write_json(*value, read.response);
  return read;
}

Result<ChatMessage> message_of(const JsonValue& message, const std::string& field) {
  ChatMessage read;
  FACET_TRY(read.role, role_of(message, field));
  FACET_TRY(read.content, content_of(message, field));
  FACET_TRY(read.reasoning, string(message, "reasoning", field));
  if (read.reasoning.empty()) {
    FACET_TRY(read.reasoning, string(message, "reasoning_content", field));
  }
  FACET_TRY(read.tool_call_id, string(message, "tool_call_id", field));
  if (read.role == Role::kTool) {
    FACET_TRY(read.name, string(message, "name", field));
  }
  FACET_CHECK(each(message, "tool_calls", field + ".tool_calls",
                   [&](const JsonValue& call, const std::string& at) -> Result<void> {
                     FACET_TRY(ToolCall one, call_of(call, at));
                     read.tool_calls.push_back(std::move(one));
                     return {};
                   }));
  FACET_CHECK(each(message, "tool_responses", field + ".tool_responses",
                   [&](const JsonValue& response, const std::string& at) -> Result<void> {
                     FACET_TRY(ToolResponse one, response_of(response, at));
                     read.tool_responses.push_back(std::move(one));
                     return {};
                   }));
  return read;
}

}  // namespace

Result<Chat> read_chat(std::string_view json) {
  FACET_TRY(const JsonValue root, parse_json(json, "", kBounds));
  if (!root.is(Kind::kObject)) return invalid("the chat", "is no JSON object");
  Chat chat;
  FACET_CHECK(each(root, "messages", "messages",
                   [&](const JsonValue& message, const std::string& at) -> Result<void> {
                     FACET_TRY(ChatMessage read, message_of(message, at));
                     chat.messages.push_back(std::move(read));
                     return {};
                   }));
  FACET_CHECK(each(root, "tools", "tools", [&](const JsonValue& tool, const std::string&) -> Result<void> {
    write_json(tool, chat.tools.emplace_back());
    return {};
  }));
  FACET_TRY(chat.thinking, boolean(root, "enable_thinking", false));
  FACET_TRY(chat.add_generation_prompt, boolean(root, "add_generation_prompt", true));
  return chat;
}

}  // namespace facet::text
