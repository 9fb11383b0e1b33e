#include "daemon/text/chat_parser.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "daemon/text/chat_format.h"
#include "daemon/text/tool_syntax.h"
#include "daemon/text/utf8_stream.h"

namespace facet::text {
namespace {

using nlohmann::json;

// An answer under construction: text and marks in a row.
MarkedText operator+(MarkedText answer, std::string_view text) {
  answer.add(text);
  return answer;
}
MarkedText operator+(MarkedText answer, Mark mark) {
  answer.add(mark);
  return answer;
}
const MarkedText kNothing(ChatFamily::kGemma4);

// What the parser makes of an answer whose text comes in pieces of `bytes`; "k:text" for each run of events
// of one kind.
std::vector<std::string> events_of(const MarkedText& answer, size_t bytes) {
  ChatParser parser(answer.family());
  Utf8Stream utf8;
  std::vector<ChatEvent> events;
  auto text = [&](std::string_view plain) {
    for (; !plain.empty(); plain.remove_prefix(std::min(bytes, plain.size()))) {
      std::string whole;
      utf8.push(plain.substr(0, bytes), whole);
      parser.push(whole, events);
    }
  };
  size_t done = 0;
  const std::string_view all = answer.text();
  for (const PlacedMark& placed : answer.marks()) {
    text(all.substr(done, placed.at - done));
    parser.push(placed.mark, events);
    done = placed.at + mark_name(answer.family(), placed.mark).size();
  }
  text(all.substr(done));
  parser.finish(events);

  std::vector<std::string> shown;
  ChatEventKind last{};
  for (const ChatEvent& event : events) {
    if (event.kind == ChatEventKind::kToolCall) {
      shown.push_back("call:" + event.call.name + event.call.arguments);
    } else if (!shown.empty() && last == event.kind) {
      shown.back() += event.text;
    } else {
      constexpr const char* kNames[] = {"text:", "thought:", "", "malformed:"};
      shown.push_back(kNames[static_cast<size_t>(event.kind)] + event.text);
    }
    last = event.kind;
  }
  return shown;
}

using Events = std::vector<std::string>;

// The same however it is cut.
Events events_of(const MarkedText& answer) {
  Events whole = events_of(answer, 1 << 30);
  for (size_t bytes : {1, 2, 3, 7}) CHECK(events_of(answer, bytes) == whole);
  return whole;
}

MarkedText call_of(std::string_view inside) {
  MarkedText call = kNothing + Mark::kCallOpen;
  for (;;) {  // '"' stands for the quote mark
    const size_t quote = inside.find('"');
    call.add(inside.substr(0, quote));
    if (quote == inside.npos) return call + Mark::kCallClose;
    call.add(Mark::kQuote);
    inside.remove_prefix(quote + 1);
  }
}

class Generator {
 public:
  explicit Generator(uint32_t seed) : random_(seed) {}

  size_t below(size_t count) { return random_() % count; }

  std::string string() {
    static const std::vector<std::string> kParts = {"a",
                                                    "Oslo",
                                                    "\"",
                                                    "'",
                                                    "\\",
                                                    "\n",
                                                    "\t",
                                                    "{",
                                                    "}",
                                                    "[",
                                                    "]",
                                                    ":",
                                                    ",",
                                                    " ",
                                                    "None",
                                                    "true",
                                                    "1",
                                                    "<|\"|>",
                                                    "é",
                                                    "日本",
                                                    "\U0001F44B",
                                                    "<turn|>",
                                                    "<|turn>",
                                                    "\\u0041",
                                                    "``",
                                                    "\"\"\"",
                                                    "<",
                                                    "|>",
                                                    "\x01",
                                                    "\u2028",
                                                    "<|tool_call>",
                                                    "<tool_call|>",
                                                    "<|channel>thought\n",
                                                    "call:f{",
                                                    std::string(1, '\0')};
    std::string text;
    for (size_t parts = below(6); parts > 0; --parts) text += kParts[below(kParts.size())];
    return text;
  }

  json number() {
    switch (below(5)) {
      case 0:
        return static_cast<int64_t>(below(2000)) - 1000;
      case 1:
        return static_cast<int64_t>(random_() | uint64_t{random_()} << 32);
      case 2:
        return std::ldexp(static_cast<double>(random_()) - 2e9, static_cast<int>(below(400)) - 200);
      case 3:
        return static_cast<double>(below(100)) / 4;
      default:
        return 0.0;
    }
  }

  json value(int depth) {
    switch (below(depth > 0 ? 7 : 5)) {
      case 0:
        return nullptr;
      case 1:
        return below(2) == 0;
      case 2:
        return number();
      case 3:
      case 4:
        return string();
      case 5: {
        json array = json::array();
        for (size_t n = below(5); n > 0; --n) array.push_back(value(depth - 1));
        return array;
      }
      default:
        return object(depth);
    }
  }

  json object(int depth) {
    json made = json::object();
    for (size_t n = below(5); n > 0; --n) made[string()] = value(depth - 1);
    return made;
  }

 private:
  std::mt19937 random_;
};

}  // namespace

TEST_CASE("what the renderer writes for a call, the parser reads back") {
  Generator generate(1);
  for (int i = 0; i < 1000; ++i) {
    const json arguments = generate.object(5);
    CAPTURE(arguments.dump());
    Chat chat;
    chat.add_generation_prompt = false;
    chat.messages.resize(1);
    chat.messages[0].role = Role::kAssistant;
    chat.messages[0].tool_calls = {{"", "f.g-1", arguments.dump()}};
    auto prompt = render_chat(ChatFamily::kGemma4, chat);
    REQUIRE(prompt.ok());
    for (size_t bytes : {size_t{1}, size_t{1} << 20, 2 + generate.below(9)}) {
      const Events events = events_of(*prompt, bytes);
      REQUIRE(events.size() == 2);  // "model\n" is text here
      REQUIRE(events[1].starts_with("call:f.g-1{"));
      CHECK(json::parse(events[1].substr(10)) == arguments);
    }
  }
}

TEST_CASE("text, thoughts and calls come out as such") {
  CHECK(events_of(kNothing) == Events{});
  CHECK(events_of(kNothing + "Hello, 世界") == Events{"text:Hello, 世界"});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "thought\nOne.\n\nTwo.\n" + Mark::kChannelClose + "Yes") ==
        Events{"thought:One.\n\nTwo.", "text:Yes"});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "thought\n" + Mark::kChannelClose + "Yes") ==
        Events{"text:Yes"});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "thought" + Mark::kChannelClose + "Yes") ==
        Events{"text:Yes"});
  CHECK(events_of(call_of("call:now{}")) == Events{"call:now{}"});
  CHECK(events_of(call_of("call:f{b:1,a:\"x\"}") + call_of("call:g{}").text()) ==
        Events{"call:f{\"b\":1,\"a\":\"x\"}", "text:<|tool_call>call:g{}<tool_call|>"});
  CHECK(events_of(kNothing + "Hm. " + Mark::kCallOpen + "call:f{}" + Mark::kCallClose + Mark::kCallOpen +
                  "call:g{}" + Mark::kCallClose + Mark::kResponseOpen) ==
        Events{"text:Hm. ", "call:f{}", "call:g{}"});
}

TEST_CASE("the notation has room around it, quoted keys and null by two names") {
  CHECK(events_of(call_of(" call:f { a : [ 1 , 2.5e+3 ] ,\"b:c\" : { } , \"\":\"\" } \n")) ==
        Events{"call:f{\"a\":[1,2.5e+3],\"b:c\":{},\"\":\"\"}"});
  CHECK(events_of(call_of("call:f{a:None,b:null,c:true,d:false,a b:-0}")) ==
        Events{"call:f{\"a\":null,\"b\":null,\"c\":true,\"d\":false,\"a b\":-0}"});
}

TEST_CASE("a malformed call comes out as it was written") {
  for (const char* inside : {"",
                             "call",
                             "call:",
                             "call:f",
                             "call:f{",
                             "call:f}",
                             "call:{}",
                             "call:f{a}",
                             "call:f{a:}",
                             "call:f{:1}",
                             "call:f{a:1,}",
                             "call:f{,}",
                             "call:f{a:1}}",
                             "call:f{a:1}x",
                             "call:f{a:Oslo}",
                             "call:f{a:\"Oslo}",
                             "call:f{a:\"x\"y}",
                             "call:f{a:01}",
                             "call:f{a:1.}",
                             "call:f{a:.5}",
                             "call:f{a:+1}",
                             "call:f{a:1e}",
                             "call:f{a:NaN}",
                             "call:f{a:1e999}",
                             "call:f{a:1 2}",
                             "call:f{a:[1,]}",
                             "call:f{a:[1}",
                             "call:f{a:[}",
                             "call:f{a:{]}",
                             "call:f[1]",
                             "call:a b{}",
                             "f{}",
                             "\"call:f{}\"",
                             "call:f{\"a\"}",
                             "call:f{\"a\"1}",
                             "call:f{a\":1}",
                             "call:f{a:1\"}",
                             "call:f{}call:g{}",
                             "call:\xC3\xA9{}",
                             "call:f{a:}\"",
                             "{\"name\":\"f\"}"}) {
    const MarkedText call = call_of(inside);
    CAPTURE(inside);
    CHECK(events_of(call + "on") == Events{"malformed:" + call.text(), "text:on"});
  }
}

TEST_CASE("nothing is lost at the end, wherever it comes") {
  CHECK(events_of(kNothing + Mark::kChannelOpen + "tho") == Events{});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "yes") == Events{"thought:yes"});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "I see it, and") == Events{"thought:I see it, and"});
  CHECK(events_of(kNothing + Mark::kChannelOpen + std::string(100, 'x')) ==
        Events{"thought:" + std::string(100, 'x')});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "thought\nHalf a") == Events{"thought:Half a"});
  CHECK(events_of(kNothing + Mark::kCallOpen + "call:f{a:" + Mark::kQuote + "x") ==
        Events{"malformed:<|tool_call>call:f{a:<|\"|>x"});
  CHECK(events_of(kNothing + Mark::kCallOpen) == Events{"malformed:<|tool_call>"});
  CHECK(events_of(kNothing + "a" + Mark::kCallOpen + "call:f{}" + Mark::kResponseOpen + "b") ==
        Events{"text:a", "malformed:<|tool_call>call:f{}", "text:b"});
  CHECK(events_of(kNothing + Mark::kCallOpen + "call:f{" + Mark::kChannelOpen + "thought\nWait") ==
        Events{"malformed:<|tool_call>call:f{", "thought:Wait"});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "thought\nSo\n" + Mark::kCallOpen + "call:f{}" +
                  Mark::kCallClose) == Events{"thought:So", "call:f{}"});
}

TEST_CASE("a mark out of place is dropped, a quote mark is text") {
  CHECK(events_of(kNothing + "a" + Mark::kCallClose + "b" + Mark::kChannelClose + "c" + Mark::kTurnOpen +
                  "d" + Mark::kToolOpen + Mark::kImage + Mark::kThink + "e" + Mark::kQuote + "f") ==
        Events{"text:abcde<|\"|>f"});
  CHECK(events_of(kNothing + Mark::kChannelOpen + "thought\na" + Mark::kQuote + "b" + Mark::kChannelClose) ==
        Events{"thought:a<|\"|>b"});
}

TEST_CASE("a call has bounds") {
  const std::string deep(kMaxJsonDepth - 1, '['), closed(kMaxJsonDepth - 1, ']');
  CHECK(events_of(call_of("call:f{a:" + deep + closed + "}")) ==
        Events{"call:f{\"a\":" + deep + closed + "}"});
  const MarkedText deeper = call_of("call:f{a:[" + deep + closed + "]}");
  CHECK(events_of(deeper) == Events{"malformed:" + deeper.text()});
  const MarkedText deepest = call_of("call:f{a:" + std::string(500000, '['));
  CHECK(events_of(deepest, 1000) == Events{"malformed:" + deepest.text()});

  std::string many = "call:f{a:[1";
  for (int i = 0; i < 300000; ++i) many += ",1";
  const MarkedText most = call_of(many + "]}");
  CHECK(events_of(most, 4096) == Events{"malformed:" + most.text()});

  const MarkedText longest = call_of("call:f{a:\"" + std::string(kMaxCallBytes, 'x') + "\"}");
  CHECK(events_of(longest, 4096) == Events{"malformed:" + longest.text()});
  CHECK(events_of(longest + "on", 1 << 30) == Events{"malformed:" + longest.text(), "text:on"});
}

TEST_CASE("Gemma 3 says text alone") {
  MarkedText answer(ChatFamily::kGemma3);
  answer.add("call:f{}");
  CHECK(events_of(answer + Mark::kTurnClose) == Events{"text:call:f{}"});
}

}  // namespace facet::text
