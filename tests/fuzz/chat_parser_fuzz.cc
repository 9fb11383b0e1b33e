// Any marks and texts through the chat parser: what comes out is UTF-8, does not depend on the pieces, loses
// no text, and what counts as a call is one: written again, it is read back the same.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdlib>
#include <variant>

#include "daemon/text/chat_parser.h"
#include "daemon/text/json_value.h"
#include "daemon/text/tool_syntax.h"
#include "daemon/text/utf8.h"
#include "daemon/text/utf8_stream.h"

namespace {

using namespace facet::text;

using Piece = std::variant<Mark, std::string>;

void require(bool truth) {
  if (!truth) std::abort();
}

std::vector<Piece> pieces_of(FuzzedDataProvider& input) {
  std::vector<Piece> pieces;
  Utf8Stream utf8;
  while (input.remaining_bytes() > 0) {
    std::string text;
    if (input.ConsumeBool()) {
      pieces.emplace_back(static_cast<Mark>(input.ConsumeIntegralInRange<int>(0, kMarks - 1)));
      continue;
    }
    utf8.push(input.ConsumeRandomLengthString(64), text);
    utf8.finish(text);
    pieces.emplace_back(std::move(text));
  }
  return pieces;
}

// Events of one kind in a row are joined.
std::vector<ChatEvent> parse(ChatFamily family, const std::vector<Piece>& pieces, bool by_character) {
  ChatParser parser(family);
  std::vector<ChatEvent> joined;
  auto take = [&](std::vector<ChatEvent> events) {
    for (ChatEvent& event : events) {
      if (event.kind != ChatEventKind::kToolCall && !joined.empty() && joined.back().kind == event.kind) {
        joined.back().text += event.text;
      } else {
        joined.push_back(std::move(event));
      }
    }
  };
  for (const Piece& piece : pieces) {
    std::vector<ChatEvent> events;
    if (const Mark* mark = std::get_if<Mark>(&piece)) {
      parser.push(*mark, events);
    } else {
      std::string_view text = std::get<std::string>(piece);
      while (by_character && !text.empty()) {
        const size_t length = utf8_length(text);
        parser.push(text.substr(0, length), events);
        text.remove_prefix(length);
      }
      parser.push(text, events);
    }
    take(std::move(events));
  }
  std::vector<ChatEvent> events;
  parser.finish(events);
  take(std::move(events));
  return joined;
}

void check_call(const ToolCall& call) {
  auto arguments = parse_json(call.arguments, "arguments");
  require(arguments.ok() && arguments->is(JsonValue::Kind::kObject));
  MarkedText written(ChatFamily::kGemma4);
  written.add("call:" + call.name + "{");
  write_members(*arguments, KeyStyle::kReadable, written);
  written.add("}");
  auto again = read_call(written);
  require(again.ok() && again->name == call.name);
  auto same = parse_json(again->arguments, "arguments");
  require(same.ok());
  MarkedText twice(ChatFamily::kGemma4);
  twice.add("call:" + call.name + "{");
  write_members(*same, KeyStyle::kReadable, twice);
  twice.add("}");
  require(twice.text() == written.text());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  const auto family =
      input.PickValueInArray({ChatFamily::kGemma3, ChatFamily::kGemma4, ChatFamily::kGemma4Small});
  const std::vector<Piece> pieces = pieces_of(input);
  const std::vector<ChatEvent> whole = parse(family, pieces, false), cut = parse(family, pieces, true);
  require(whole.size() == cut.size());
  size_t bytes_in = 0, bytes_out = 0, marks = 0;
  for (const Piece& piece : pieces) {
    if (const std::string* text = std::get_if<std::string>(&piece)) {
      bytes_in += text->size();
    } else {
      ++marks;
    }
  }
  bool calls = false;
  for (size_t i = 0; i < whole.size(); ++i) {
    require(whole[i].kind == cut[i].kind && whole[i].text == cut[i].text);
    require(whole[i].call.name == cut[i].call.name && whole[i].call.arguments == cut[i].call.arguments);
    require(is_utf8(whole[i].text) && is_utf8(whole[i].call.arguments));
    bytes_out += whole[i].text.size();
    if (whole[i].kind == ChatEventKind::kToolCall) {
      calls = true;
      check_call(whole[i].call);
    }
  }
  // For each mark at most a channel's name and two line ends are left out.
  if (!calls) require(bytes_out + marks * 34 >= bytes_in);
  return 0;
}
