#include "daemon/text/chat_parser.h"

#include <utility>

#include "daemon/text/tool_syntax.h"

namespace facet::text {
namespace {

constexpr size_t kMaxChannelName = 32;
constexpr std::string_view kThoughtChannel = "thought";

void emit(ChatEventKind kind, std::string text, std::vector<ChatEvent>& events) {
  if (text.empty()) return;
  if (!events.empty() && events.back().kind == kind && kind != ChatEventKind::kToolCall) {
    events.back().text += text;
  } else {
    events.push_back({kind, std::move(text), {}});
  }
}

bool may_name_channel(std::string_view text) {
  return text.size() <= kMaxChannelName &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") ==
             text.npos;
}

}  // namespace

void ChatParser::push(Mark mark, std::vector<ChatEvent>& events) {
  if (family_ == ChatFamily::kGemma3) return;
  const bool in_call = state_ == State::kCall || state_ == State::kBrokenCall;
  if (mark == Mark::kQuote) {
    if (state_ == State::kCall) {
      call_.add(mark);
      grow_call(events);
    } else {
      push(mark_name(family_, mark), events);
    }
    return;
  }
  if (mark == Mark::kCallClose && in_call) return close_call(events);
  const bool opens = mark == Mark::kCallOpen || mark == Mark::kChannelOpen;
  const bool closes = mark == Mark::kChannelClose || mark == Mark::kTurnClose || mark == Mark::kResponseOpen;
  if (!opens && !closes && !in_call) return;
  leave(events);
  if (mark == Mark::kCallOpen) {
    state_ = State::kCall;
  } else if (mark == Mark::kChannelOpen) {
    state_ = State::kChannelName;
  }
}

void ChatParser::push(std::string_view text, std::vector<ChatEvent>& events) {
  switch (state_) {
    case State::kText:
      return emit(ChatEventKind::kText, std::string(text), events);
    case State::kChannelName:
      return name_channel(text, events);
    case State::kThought:
      return think(text, events);
    case State::kCall:
      call_.add(text);
      return grow_call(events);
    case State::kBrokenCall:
      return emit(ChatEventKind::kMalformedCall, std::string(text), events);
  }
}

void ChatParser::finish(std::vector<ChatEvent>& events) {
  leave(events);
}

void ChatParser::name_channel(std::string_view text, std::vector<ChatEvent>& events) {
  const size_t line = text.find('\n');
  const std::string first = held_ + std::string(text.substr(0, line));
  if (may_name_channel(first)) {
    if (line == text.npos) {
      held_ = first;
      return;
    }
    text.remove_prefix(line + 1);
    held_.clear();
    state_ = State::kThought;
    return think(text, events);
  }
  // No name: the thought begins at once.
  const std::string thought = std::exchange(held_, "") + std::string(text);
  state_ = State::kThought;
  think(thought, events);
}

void ChatParser::think(std::string_view text, std::vector<ChatEvent>& events) {
  if (text.empty()) return;
  std::string thought = std::exchange(held_, "") + std::string(text);
  if (thought.back() == '\n') {
    thought.pop_back();
    held_ = "\n";
  }
  emit(ChatEventKind::kThought, std::move(thought), events);
}

void ChatParser::grow_call(std::vector<ChatEvent>& events) {
  if (call_.text().size() <= kMaxCallBytes) return;
  leave(events);
  state_ = State::kBrokenCall;
}

void ChatParser::close_call(std::vector<ChatEvent>& events) {
  if (state_ == State::kCall) {
    if (auto call = read_call(call_); call.ok()) {
      events.push_back({ChatEventKind::kToolCall, "", std::move(*call)});
      call_ = MarkedText(family_);
      state_ = State::kText;
      return;
    }
  }
  leave(events);
  emit(ChatEventKind::kMalformedCall, std::string(mark_name(family_, Mark::kCallClose)), events);
}

void ChatParser::leave(std::vector<ChatEvent>& events) {
  switch (state_) {
    case State::kChannelName:
      if (!kThoughtChannel.starts_with(held_)) emit(ChatEventKind::kThought, held_, events);
      break;
    case State::kCall:
      emit(ChatEventKind::kMalformedCall, std::string(mark_name(family_, Mark::kCallOpen)) + call_.text(),
           events);
      call_ = MarkedText(family_);
      break;
    case State::kText:
    case State::kThought:
    case State::kBrokenCall:
      break;
  }
  held_.clear();
  state_ = State::kText;
}

}  // namespace facet::text
