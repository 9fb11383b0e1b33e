// Gemma 4: a system turn with the wish to think, the system's text and the tools; then a turn for each
// message, but one model turn for an answer that calls tools, hears from them and goes on. Equal to Google's
// template of 2026-07-09 in what it writes, but for two places that are marked below: there it is equal to
// the template of 2026-04, which tests/golden/data/chat.jsonl was made with.
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
  Gemma4Writer(ChatFamily family, const Chat& chat) : chat_(chat), out_(family) {}

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
    // The template of July opens a thought here after responses, if the model may think.
    if (chat_.add_generation_prompt && last_ == Last::kOther) {
      out_.add(Mark::kTurnOpen);
      out_.add("model\n");
      if (!chat_.thinking && out_.family() != ChatFamily::kGemma4Small) thought("");
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
    if (has_text) FACET_CHECK(system_text());
    for (size_t i = 0; i < chat_.tools.size(); ++i) {
      out_.add(Mark::kToolOpen);
      FACET_CHECK(write_declaration(chat_.tools[i], "tools[" + std::to_string(i) + "]", out_));
      out_.add(Mark::kToolClose);
    }
    end_turn();
    return {};
  }

  Result<void> system_text() {
    const std::vector<ContentPart>& parts = chat_.messages[0].content;
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].kind != PartKind::kText) {
        return Error{FACET_UNSUPPORTED, "messages[0].content[" + std::to_string(i) + "] is no text"};
      }
      out_.add(trim(parts[i].text));
      if (parts.size() > 1) out_.add(" ");
    }
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
    if (model && !message.reasoning.empty() && after_last_user) thought(message.reasoning + "\n");
    FACET_CHECK(calls(index));
    FACET_TRY(const bool answered, responses(index));
    const bool silent = !content(message);
    const bool goes_on = model && next_is_model(index) && (message.tool_calls.empty() || answered);
    if (last_ == Last::kCalls) {
      out_.add(Mark::kResponseOpen);
    } else if (!goes_on && !(answered && silent)) {
      // The template of July closes the turn also after responses that someone else's message follows.
      end_turn();
    }
    return {};
  }

  // Whether the next message is the assistant's, tools' messages apart.
  bool next_is_model(size_t index) const {
    do {
      ++index;
    } while (index < chat_.messages.size() && chat_.messages[index].role == Role::kTool);
    return index < chat_.messages.size() && chat_.messages[index].role == Role::kAssistant;
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
        answer(message, chat_.messages[i]);
        any = true;
      }
    }
    if (any) last_ = Last::kResponses;
    return any;
  }

  // What a tool's message says to a call of `caller`.
  void answer(const ChatMessage& caller, const ChatMessage& message) {
    std::string name = message.name.empty() ? "unknown" : message.name;
    for (const ToolCall& call : caller.tool_calls) {
      if (call.id == message.tool_call_id) name = call.name;
    }
    JsonValue body;
    if (!message.content.empty()) body.kind = JsonValue::Kind::kString;
    for (const ContentPart& part : message.content) {
      if (part.kind == PartKind::kText) body.text += part.text;
    }
    response(name, body);
    for (const ContentPart& part : message.content) {
      if (part.kind != PartKind::kText) out_.add(mark_of(part.kind));
    }
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

  // Whether there is any.
  bool content(const ChatMessage& message) {
    bool any = false;
    for (const ContentPart& part : message.content) {
      if (part.kind != PartKind::kText) {
        out_.add(mark_of(part.kind));
        any = true;
        continue;
      }
      const std::string visible = message.role == Role::kAssistant ? without_thoughts(part.text) : part.text;
      out_.add(trim(visible));
      any = any || !trim(visible).empty();
    }
    return any;
  }

  static Mark mark_of(PartKind kind) {
    return kind == PartKind::kImage ? Mark::kImage : kind == PartKind::kAudio ? Mark::kAudio : Mark::kVideo;
  }

  const Chat& chat_;
  MarkedText out_;
  size_t begin_ = 0;                 // the first message after the system turn
  std::optional<size_t> last_user_;  // the user's last message
  bool previous_was_model_ = false;  // the message before this one, tools' messages apart
  Last last_ = Last::kOther;
};

}  // namespace

Result<MarkedText> render_gemma4(ChatFamily family, const Chat& chat) {
  return Gemma4Writer(family, chat).write();
}

}  // namespace facet::text
