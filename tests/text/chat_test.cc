#include "daemon/text/chat.h"

#include <doctest/doctest.h>

#include <functional>

namespace facet::text {
namespace {

Chat chat_with(const std::function<void(ChatMessage&)>& change) {
  Chat chat;
  chat.messages.resize(2);
  chat.messages[0].content.push_back({PartKind::kText, "Hello"});
  chat.messages[1].role = Role::kAssistant;
  change(chat.messages[1]);
  return chat;
}

std::string error_of(const Chat& chat) {
  auto checked = check_chat(chat);
  return checked.ok() ? "" : checked.error().message;
}

}  // namespace

TEST_CASE("a chat keeps its bounds") {
  CHECK(error_of({}) == "messages is empty");
  Chat chat;
  chat.messages.resize(kMaxChatMessages);
  CHECK(error_of(chat) == "");
  chat.messages.resize(100000);
  CHECK(error_of(chat) == "messages has 100000 elements; at most 65536 are allowed");
  CHECK(check_chat(chat).error().code == FACET_TOO_LARGE);

  CHECK(error_of(chat_with([](ChatMessage& m) {
          m.content.resize(kMaxContentParts + 1);
        })).starts_with("messages[1].content has 4097 elements"));
  CHECK(error_of(chat_with([](ChatMessage& m) { m.reasoning.assign(kMaxChatBytes - 5, 'x'); })) == "");
  CHECK(error_of(chat_with([](ChatMessage& m) { m.reasoning.assign(kMaxChatBytes - 4, 'x'); })) ==
        "the chat has more than 4194304 bytes at messages[1].reasoning");
  chat.messages.resize(1);
  chat.tools.resize(kMaxTools + 1, "{}");
  CHECK(error_of(chat).starts_with("tools has 1025 elements"));
}

TEST_CASE("what is not UTF-8 is named") {
  const std::string bad = "a\xFF";
  CHECK(error_of(chat_with([&](ChatMessage& m) {
          m.content = {{}, {PartKind::kText, bad}};
        })) == "messages[1].content[1].text is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) { m.reasoning = bad; })) ==
        "messages[1].reasoning is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) { m.tool_call_id = bad; })) ==
        "messages[1].tool_call_id is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) { m.name = bad; })) == "messages[1].name is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) {
          m.tool_calls = {{bad, "f", "{}"}};
        })) == "messages[1].tool_calls[0].id is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) {
          m.tool_calls = {{"", bad, "{}"}};
        })) == "messages[1].tool_calls[0].name is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) {
          m.tool_calls = {{"", "f", bad}};
        })) == "messages[1].tool_calls[0].arguments is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) {
          m.tool_responses = {{"f", bad}};
        })) == "messages[1].tool_responses[0].response is not UTF-8");
  CHECK(error_of(chat_with([&](ChatMessage& m) {
          m.tool_responses = {{bad, "{}"}};
        })) == "messages[1].tool_responses[0].name is not UTF-8");
  Chat chat = chat_with([](ChatMessage&) {});
  chat.tools = {"{}", bad};
  CHECK(error_of(chat) == "tools[1] is not UTF-8");
}

TEST_CASE("a tool's name is plain") {
  CHECK(check_tool_name("get_weather-2", "x").ok());
  CHECK(check_tool_name("ns.tool/sub:1", "x").ok());
  CHECK(check_tool_name(std::string(kMaxToolNameBytes, 'a'), "x").ok());
  CHECK(check_tool_name("", "tools[0].function.name").error().message == "tools[0].function.name is empty");
  CHECK(!check_tool_name(std::string(kMaxToolNameBytes + 1, 'a'), "x").ok());
  for (const char* name : {"a b", "a{", "a}", "<|tool_call>", "a\n", "a\"b", "é", "a,b"}) {
    CAPTURE(name);
    CHECK(check_tool_name(name, "x").error().code == FACET_INVALID_ARGUMENT);
  }
  CHECK(error_of(chat_with([](ChatMessage& m) {
          m.tool_calls = {{"", "a{b", "{}"}};
        })) ==
        "messages[1].tool_calls[0].name has something else than ASCII letters, digits and \"_-./:\" at byte "
        "1");
}

}  // namespace facet::text
