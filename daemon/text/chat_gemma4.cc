// Gemma 4: a system turn with the wish to think, the system's text and the tools; then a turn for each
// message, but one model turn for an answer that calls tools, hears from them and goes on. Equal to the
// official template in what it writes, also where that is odd.
#include <algorithm>
#include <optional>

#include "daemon/text/chat_gemma.h"
#include "daemon/text/tool_syntax.h"

namespace facet::text {
namespace {

Error invalid(const std::string& field, const std::string& why) {
  return {FACET_INVALID_ARGUMENT, field + " " + why};
}

// What the model said aloud: everything between "<|channel>" and "<channel|>" left out. Here they are text of
// the app, not marks.
std::string without_thoughts(std::string_view text) {
  const std::string_view open = mark_name(ChatFamily::kGemma4, Mark::kChannelOpen);
  const std::string_view close = mark_name(ChatFamily::kGemma4, Mark::kChannelClose);
  std::string visible;
  for (;;) {
    const size_t end = text.find(close);
    const std::string_view part = text.substr(0, end);
    visible += part.substr(0, part.find(open));
    if (end == text.npos) return visible;
    text.remove_prefix(end + close.size());
  }
}

// What the last message ended with, as far as it matters for what follows.
enum class Last : uint8_t { kOther, kCalls, kResponses };

class Gemma4Writer {
 public:
  explicit Gemma4Writer(const Chat& chat) : chat_(chat) {}

  Result<MarkedText> write() && {
    out_.add(Mark::kBos);
    const Role first = chat_.messages[0].role;
    const bool system = first == Role::kSystem || first == Role::kDeveloper;
    FACET_CHECK(system_turn(system));
    begin_ = system ? 1 : 0;
    for (size_t i = begin_; i < chat_.messages.size(); ++i) {
      if (chat_.messages[i].role == Role::kUser) last_user_ = i;
    }
    for (size_t i = begin_; i < chat_.messages.size(); ++i) FACET_CHECK(message(i));
    if (chat_.add_generation_prompt && last_ == Last::kOther) {
      out_.add(Mark::kTurnOpen);
      out_.add("model\n");
      if (!chat_.thinking) thought("");
    }
    return std::move(out_);
  }

 private:
  static std::string field_of(size_t index) { return "messages[" + std::to_string(index) + "]"; }

  Result<void> system_turn(bool has_text) {
    if (!has_text && !chat_.thinking && chat_.tools.empty()) return {};
    out_.add(Mark::kTurnOpen);
    out_.add("system\n");
    if (chat_.thinking) {
      out_.add(Mark::kThink);
      out_.add("\n");
    }
    if (has_text) FACET_CHECK(content(0));
    for (size_t i = 0; i < chat_.tools.size(); ++i) {
      out_.add(Mark::kToolOpen);
      FACET_CHECK(write_declaration(chat_.tools[i], "tools[" + std::to_string(i) + "]", out_));
      out_.add(Mark::kToolClose);
    }
    end_turn();
    return {};
  }

  Result<void> message(size_t index) {
    const ChatMessage& message = chat_.messages[index];
    FACET_CHECK(check_fields(index));
    if (message.role == Role::kTool) return {};  // written by the call that it answers
    last_ = Last::kOther;
    const bool model = message.role == Role::kAssistant;
    if (!(model && previous_was_model_)) {
      out_.add(Mark::kTurnOpen);
      out_.add(model ? "model" : role_name(message.role));
      out_.add("\n");
    }
    previous_was_model_ = model;

    const bool after_last_user = !last_user_ || index > *last_user_;
    if (!message.tool_calls.empty() && !message.reasoning.empty() && after_last_user) {
      thought(message.reasoning + "\n");
    }
    FACET_CHECK(calls(index));
    FACET_TRY(const bool answered, responses(index));
    FACET_CHECK(content(index));
    const bool silent = std::all_of(
        message.content.begin(), message.content.end(),
        [](const ContentPart& part) { return part.kind == PartKind::kText && part.text.empty(); });
    if (last_ == Last::kCalls) {
      out_.add(Mark::kResponseOpen);
    } else if (!(answered && silent)) {
      end_turn();
    }
    return {};
  }

  Result<void> check_fields(size_t index) {
    const ChatMessage& message = chat_.messages[index];
    if (message.role == Role::kAssistant) return {};
    if (!message.tool_calls.empty()) {
      return invalid(field_of(index) + ".tool_calls", "stands in a message that is not the assistant's");
    }
    if (!message.tool_responses.empty()) {
      return invalid(field_of(index) + ".tool_responses", "stands in a message that is not the assistant's");
    }
    return {};
  }

  void end_turn() {
    out_.add(Mark::kTurnClose);
    out_.add("\n");
  }

  void thought(std::string_view text) {
    out_.add(Mark::kChannelOpen);
    out_.add("thought\n");
    out_.add(text);
    out_.add(Mark::kChannelClose);
  }

  Result<void> calls(size_t index) {
    const ChatMessage& message = chat_.messages[index];
    for (size_t i = 0; i < message.tool_calls.size(); ++i) {
      const ToolCall& call = message.tool_calls[i];
      const std::string field = field_of(index) + ".tool_calls[" + std::to_string(i) + "].arguments";
      JsonValue arguments;
      arguments.kind = JsonValue::Kind::kObject;
      if (!call.arguments.empty()) {
        FACET_TRY(arguments, parse_json(call.arguments, field));
      }
      if (!arguments.is(JsonValue::Kind::kObject)) return invalid(field, "is no JSON object");
      out_.add(Mark::kCallOpen);
      out_.add("call:");
      out_.add(call.name);
      out_.add("{");
      write_members(arguments, KeyStyle::kReadable, out_);
      out_.add("}");
      out_.add(Mark::kCallClose);
      last_ = Last::kCalls;
    }
    return {};
  }

  // Whether there are any: those in the message itself, or else the tool messages that follow it.
  Result<bool> responses(size_t index) {
    const ChatMessage& message = chat_.messages[index];
    bool any = false;
    for (size_t i = 0; i < message.tool_responses.size(); ++i) {
      const ToolResponse& tool = message.tool_responses[i];
      const std::string field = field_of(index) + ".tool_responses[" + std::to_string(i) + "].response";
      FACET_TRY(JsonValue value, parse_json(tool.response, field));
      response(tool.name.empty() ? "unknown" : tool.name, value);
      any = true;
    }
    if (!any && !message.tool_calls.empty()) {
      for (size_t i = index + 1; i < chat_.messages.size() && chat_.messages[i].role == Role::kTool; ++i) {
        FACET_CHECK(answer(message, i));
        any = true;
      }
    }
    if (any) last_ = Last::kResponses;
    return any;
  }

  // The tool message `index` answers a call of `caller`.
  Result<void> answer(const ChatMessage& caller, size_t index) {
    const ChatMessage& message = chat_.messages[index];
    std::string name = message.name;
    for (const ToolCall& call : caller.tool_calls) {
      if (call.id == message.tool_call_id) name = call.name;
    }
    if (name.empty()) {
      return invalid(field_of(index) + ".tool_call_id", "is that of no call, and the message has no name");
    }
    JsonValue body;
    if (!message.content.empty()) body.kind = JsonValue::Kind::kString;
    for (size_t i = 0; i < message.content.size(); ++i) {
      if (message.content[i].kind != PartKind::kText) {
        return Error{FACET_UNSUPPORTED, field_of(index) + ".content[" + std::to_string(i) +
                                            "] is no text: a tool answers with text alone"};
      }
      body.text += message.content[i].text;
    }
    response(name, body);
    return {};
  }

  void response(std::string_view name, const JsonValue& value) {
    out_.add(Mark::kResponseOpen);
    out_.add("response:");
    out_.add(name);
    out_.add("{");
    if (value.is(JsonValue::Kind::kObject)) {
      write_members(value, KeyStyle::kBare, out_);
    } else {
      out_.add("value:");
      write_argument(value, KeyStyle::kBare, out_);
    }
    out_.add("}");
    out_.add(Mark::kResponseClose);
  }

  Result<void> content(size_t index) {
    const ChatMessage& message = chat_.messages[index];
    for (const ContentPart& part : message.content) {
      if (part.kind == PartKind::kText) {
        const bool model = message.role == Role::kAssistant;
        out_.add(model ? trim(without_thoughts(part.text)) : trim(part.text));
        continue;
      }
      last_ = Last::kOther;
      out_.add(part.kind == PartKind::kImage   ? Mark::kImage
               : part.kind == PartKind::kAudio ? Mark::kAudio
                                               : Mark::kVideo);
    }
    return {};
  }

  const Chat& chat_;
  MarkedText out_{ChatFamily::kGemma4};
  size_t begin_ = 0;                 // the first message after the system turn
  std::optional<size_t> last_user_;  // the user's last message
  bool previous_was_model_ = false;  // the message before this one, tools' messages apart
  Last last_ = Last::kOther;
};

}  // namespace

Result<MarkedText> render_gemma4(const Chat& chat) {
  return Gemma4Writer(chat).write();
}

}  // namespace facet::text
