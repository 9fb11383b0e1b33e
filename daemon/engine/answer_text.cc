#include "daemon/engine/answer_text.h"

#include "sdk/protocol/limits.h"

namespace facet::engine {
namespace {

// A call and its arguments as JSON, where a character takes up to six bytes, fit into their messages.
static_assert(6 * text::kMaxCallBytes <= protocol::kMaxArgumentsBytes);
static_assert(text::kMaxToolNameBytes <= protocol::kMaxNameBytes);
// What one token can release.
static_assert(text::kMaxStopBytes + 4 * text::kMaxPieceBytes <= protocol::kMaxTokenTextBytes);

}  // namespace

AnswerText::AnswerText(const text::Tokenizer& tokenizer, text::StopMatcher stops)
    : tokenizer_(&tokenizer), stops_(std::move(stops)) {}

void AnswerText::read_chat(const text::ChatFormat& format, size_t first_call) {
  format_ = &format;
  parser_.emplace(format.family());
  next_call_ = first_call;
}

bool AnswerText::ends(text::Token token) const {
  if (tokenizer_->vocabulary().ends_generation(token)) return true;
  if (!format_) return false;
  const auto mark = format_->mark(token);
  return mark == text::Mark::kTurnClose || mark == text::Mark::kResponseOpen;
}

AnswerText::Shown AnswerText::push(text::Token token) {
  Shown shown;
  std::string characters;
  const auto mark = format_ ? format_->mark(token) : std::nullopt;
  if (mark) {
    utf8_.finish(characters);
  } else {
    std::string bytes;
    tokenizer_->append_bytes(token, false, bytes);
    utf8_.push(bytes, characters);
  }
  if (!parser_) {
    stops_.push(characters, shown.text);
    return shown;
  }
  std::vector<text::ChatEvent> events;
  if (!characters.empty()) parser_->push(characters, events);
  if (mark) parser_->push(*mark, events);
  show(std::move(events), shown);
  return shown;
}

AnswerText::Shown AnswerText::finish() {
  Shown shown;
  if (stopped()) return shown;
  std::string characters;
  utf8_.finish(characters);
  if (!parser_) {
    if (!stops_.push(characters, shown.text)) stops_.finish(shown.text);
    return shown;
  }
  std::vector<text::ChatEvent> events;
  if (!characters.empty()) parser_->push(characters, events);
  parser_->finish(events);
  show(std::move(events), shown);
  if (!stopped()) stops_.finish(shown.text);
  return shown;
}

void AnswerText::show(std::vector<text::ChatEvent>&& events, Shown& shown) {
  for (text::ChatEvent& event : events) {
    if (event.kind == text::ChatEventKind::kText) {
      if (stops_.push(event.text, shown.text)) return;
      continue;
    }
    if (stopped()) return;
    stops_.finish(shown.text);
    switch (event.kind) {
      case text::ChatEventKind::kText:
        break;
      case text::ChatEventKind::kThought:
        shown.parts.push_back(protocol::Thought{std::move(event.text)});
        break;
      case text::ChatEventKind::kToolCall:
        called_tools_ = true;
        shown.parts.push_back(protocol::ToolCall{"call_" + std::to_string(next_call_++),
                                                 std::move(event.call.name),
                                                 std::move(event.call.arguments)});
        break;
      case text::ChatEventKind::kMalformedCall:
        shown.parts.push_back(protocol::MalformedCall{std::move(event.text)});
        break;
    }
  }
}

}  // namespace facet::engine
