#include "daemon/engine/chat_prompt.h"

#include <algorithm>
#include <string>

#include "daemon/text/chat_template.h"
#include "sdk/protocol/limits.h"

namespace facet::engine {
namespace {

constexpr char kTemplateKey[] = "tokenizer.chat_template";

// What the daemon's hello promises is what the format takes.
static_assert(protocol::kMaxChatMessages <= text::kMaxChatMessages);
static_assert(protocol::kMaxContentParts <= text::kMaxContentParts);
static_assert(protocol::kMaxToolCalls <= text::kMaxToolCalls);
static_assert(protocol::kMaxTools <= text::kMaxTools);
static_assert(protocol::kMaxMessageBytes <= text::kMaxChatBytes);
static_assert(protocol::kMaxJsonNesting == text::kMaxJsonDepth);

// The enums have the same members in the same order.
static_assert(static_cast<int>(protocol::Role::kTool) == static_cast<int>(text::Role::kTool));
static_assert(static_cast<int>(protocol::Role::kDeveloper) == static_cast<int>(text::Role::kDeveloper));

text::ChatMessage message_of(const protocol::Message& from) {
  text::ChatMessage to;
  to.role = static_cast<text::Role>(from.role);
  for (const auto& part : from.content) to.content.push_back({text::PartKind::kText, part.text});
  to.reasoning = from.thought;
  for (const auto& call : from.tool_calls) to.tool_calls.push_back({call.id, call.name, call.arguments});
  to.tool_call_id = from.tool_call_id;
  to.name = from.tool_name;
  return to;
}

}  // namespace

Result<text::ChatFormat> chat_format_of(const model::Model& model) {
  const std::string& family = model.config().family;
  FACET_TRY(const auto chat_template, model.file().find_string(kTemplateKey));
  const auto known = text::chat_family(family, chat_template.value_or(""));
  if (!known) return Error{FACET_UNSUPPORTED, "models of the family " + family + " have no chat format"};
  return text::ChatFormat::make(*known, model.tokenizer().vocabulary());
}

std::string_view chat_warning_of(const model::Model& model) {
  const auto chat_template = model.file().find_string(kTemplateKey);
  if (!chat_template.ok() || !*chat_template || text::known_template(**chat_template)) return {};
  return text::kUnknownTemplate;
}

Result<text::MarkedText> chat_text(const protocol::Chat& chat, const text::ChatFormat& format) {
  text::Chat plain;
  for (const auto& message : chat.messages) plain.messages.push_back(message_of(message));
  plain.tools = chat.tools;
  plain.thinking = chat.thinking;
  plain.add_generation_prompt = chat.add_generation_prompt;
  return text::render_chat(format.family(), plain);
}

Result<std::vector<text::Token>> chat_beginning(const std::string& system, bool thinking,
                                                const text::ChatFormat& format,
                                                const text::Tokenizer& tokenizer) {
  const auto tokens_with = [&](const char* user) -> Result<std::vector<text::Token>> {
    text::Chat chat;
    chat.messages.resize(2);
    chat.messages[0].role = text::Role::kSystem;
    chat.messages[0].content = {{text::PartKind::kText, system}};
    chat.messages[1].content = {{text::PartKind::kText, user}};
    chat.thinking = thinking;
    FACET_TRY(const text::MarkedText marked, text::render_chat(format.family(), chat));
    return format.encode(tokenizer, marked);
  };
  FACET_TRY(auto tokens, tokens_with("a"));
  FACET_TRY(const auto others, tokens_with("1"));
  tokens.erase(std::mismatch(tokens.begin(), tokens.end(), others.begin(), others.end()).first, tokens.end());
  return tokens;
}

}  // namespace facet::engine
