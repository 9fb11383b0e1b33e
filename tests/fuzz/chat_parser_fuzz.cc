// Any marks and texts as what a model says: the events do not depend on how the text is cut, are UTF-8, and a
// call's arguments are a JSON object.
#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/text/chat_parser.h"
#include "daemon/text/json_value.h"
#include "daemon/text/utf8.h"
#include "daemon/text/utf8_stream.h"

namespace {

using namespace facet::text;

void require(bool truth) {
  if (!truth) std::abort();
}

using Answer = std::vector<std::variant<Mark, std::string>>;

Answer answer_of(FuzzedDataProvider& input, ChatFamily family) {
  Answer answer;
  while (input.remaining_bytes() > 0) {
    const uint8_t kind = input.ConsumeIntegral<uint8_t>();
    const auto mark = static_cast<Mark>(kind % kMarks);
    if (kind >= 128 && !mark_name(family, mark).empty()) {
      answer.emplace_back(mark);
    } else {
      std::string text;
      Utf8Stream utf8;
      utf8.push(input.ConsumeRandomLengthString(64), text);
      utf8.finish(text);
      answer.emplace_back(text);
    }
  }
  return answer;
}

// Where the character that begins at `at` ends.
size_t next_character(std::string_view text, size_t at) {
  do ++at;
  while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  return at;
}

// The events, neighbours of one kind joined. Each text is pushed whole, or character by character.
std::vector<ChatEvent> events_of(ChatFamily family, const Answer& answer, bool whole) {
  ChatParser parser(family);
  std::vector<ChatEvent> events;
  for (const auto& part : answer) {
    if (const auto* mark = std::get_if<Mark>(&part)) {
      parser.push(*mark, events);
      continue;
    }
    const std::string_view text = std::get<std::string>(part);
    for (size_t at = 0; at < text.size();) {
      const size_t end = whole ? text.size() : next_character(text, at);
      parser.push(text.substr(at, end - at), events);
      at = end;
    }
  }
  parser.finish(events);
  std::vector<ChatEvent> joined;
  for (ChatEvent& event : events) {
    const bool grows = event.kind == ChatEventKind::kText || event.kind == ChatEventKind::kThought;
    if (grows && !joined.empty() && joined.back().kind == event.kind) {
      joined.back().text += event.text;
    } else if (!grows || !event.text.empty()) {
      joined.push_back(std::move(event));
    }
  }
  return joined;
}

bool same(const ChatEvent& one, const ChatEvent& other) {
  return one.kind == other.kind && one.text == other.text && one.call.name == other.call.name &&
         one.call.arguments == other.call.arguments;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  const auto family =
      input.PickValueInArray({ChatFamily::kGemma3, ChatFamily::kGemma4, ChatFamily::kGemma4Small});
  const Answer answer = answer_of(input, family);
  const auto events = events_of(family, answer, true);
  const auto in_pieces = events_of(family, answer, false);
  require(std::equal(events.begin(), events.end(), in_pieces.begin(), in_pieces.end(), same));
  for (const ChatEvent& event : events) {
    require(is_utf8(event.text));
    if (event.kind != ChatEventKind::kToolCall) continue;
    require(is_utf8(event.call.name) && event.call.arguments.starts_with('{'));
    require(parse_json(event.call.arguments, "arguments").ok());
  }
  return 0;
}
