// Chats through the engine, on tiny models with the marks of their families.
#include <doctest/doctest.h>

#include "daemon/engine/chat_prompt.h"
#include "sdk/protocol/limits.h"
#include "tests/engine/bench.h"

using namespace facet;
using protocol::FinishReason;
using protocol::Role;
using test::Answer;
using test::Bench;

namespace {

const char* const kTool =
    R"({"type":"function","function":{"name":"now","description":"The time.","parameters":{"type":"object","properties":{}}}})";

protocol::Chat conversation() {
  protocol::Chat chat;
  chat.messages = {{.role = Role::kSystem, .content = {{"Be terse."}}},
                   {.content = {{"Once upon "}, {"a time <turn|>"}}}};
  return chat;
}

protocol::Generate request_of(protocol::Chat chat, uint32_t max_tokens = 6) {
  protocol::Generate request;
  request.prompt = std::move(chat);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_end = true;
  return request;
}

struct Loaded {
  std::shared_ptr<const model::Model> model;
  text::ChatFormat format;

  explicit Loaded(const std::string& name)
      : model(*model::Model::load(test::tiny_model_path(name))), format(*engine::chat_format_of(*model)) {}

  uint32_t token(const std::string& mark) const {
    auto tokens = model->tokenizer().encode(mark, {.special = true});
    REQUIRE(tokens.ok());
    REQUIRE(tokens->size() == 1);
    return static_cast<uint32_t>(tokens->front());
  }
};

}  // namespace

TEST_CASE("a chat gives the tokens that its rendered prompt gives") {
  for (const char* name : {"gemma3", "e2b"}) {
    CAPTURE(name);
    const std::string path = test::tiny_model_path(name);
    const Loaded loaded(name);
    auto text = engine::chat_text(conversation(), loaded.format);
    REQUIRE_MESSAGE(text.ok(), text.error().message);
    auto tokens = loaded.format.encode(loaded.model->tokenizer(), *text);
    REQUIRE_MESSAGE(tokens.ok(), tokens.error().message);
    protocol::TokenIds ids(tokens->begin(), tokens->end());
    Bench bench({});
    const auto rendered = bench.answer(bench.start(test::greedy(ids, 6), path));
    const auto answer = bench.answer(bench.start(request_of(conversation()), path));
    REQUIRE_MESSAGE(answer.finish.has_value(), answer.failed->message);
    CHECK(answer.finish->usage.prompt_tokens == ids.size());
    CHECK(answer.ids.size() == 6);
    CHECK(answer.ids == rendered.ids);
  }
}

TEST_CASE("marks that the model says become parts, and a turn's end ends the answer") {
  const std::string path = test::tiny_model_path("e2b");
  const Loaded loaded("e2b");
  Bench bench({});
  auto always = [&](const char* mark, bool ignore_end) {
    auto request = request_of(conversation(), 3);
    request.ignore_end = ignore_end;
    request.sampling.logit_bias = {{loaded.token(mark), 1000.0f}};
    return bench.answer(bench.start(request, path));
  };
  const Answer ended = always("<turn|>", false);
  REQUIRE(ended.finish.has_value());
  CHECK(ended.ids.empty());
  CHECK(ended.finish->reason == FinishReason::kStop);
  CHECK(always("<|tool_response>", false).ids.empty());

  const Answer calls = always("<|tool_call>", true);
  CHECK(calls.ids.size() == 3);
  CHECK(calls.text.empty());
  CHECK(calls.finish->reason == FinishReason::kLength);
  std::string said;
  auto add = [&](const std::vector<protocol::Part>& parts) {
    for (const auto& part : parts) said += std::get<protocol::MalformedCall>(part).text;
  };
  for (const auto& token : calls.tokens) add(token.parts);
  add(calls.finish->parts);
  CHECK(said == "<|tool_call><|tool_call><|tool_call>");
}

TEST_CASE("the same marks in an answer to a text are no parts") {
  const Loaded loaded("e2b");
  Bench bench({});
  protocol::Generate request = test::greedy({2, 20, 21}, 3);
  request.sampling.logit_bias = {{loaded.token("<|tool_call>"), 1000.0f}};
  const auto answer = bench.answer(bench.start(request, test::tiny_model_path("e2b")));
  CHECK(answer.ids.size() == 3);
  for (const auto& token : answer.tokens) CHECK(token.parts.empty());
  CHECK(answer.finish->parts.empty());
}

TEST_CASE("what is wrong with a chat is said, and the engine goes on") {
  Bench bench({});
  const std::string path = test::tiny_model_path("e2b");
  auto refused = [&](protocol::Chat chat, const std::string& named) {
    const auto answer = bench.answer(bench.start(request_of(std::move(chat)), path));
    REQUIRE(answer.failed.has_value());
    CAPTURE(answer.failed->message);
    CHECK(answer.failed->message.find(named) != std::string::npos);
    return answer.failed->code;
  };
  CHECK(refused({}, "messages") == FACET_INVALID_ARGUMENT);

  auto chat = conversation();
  chat.tools = {"{"};
  CHECK(refused(chat, "tools[0]") != FACET_OK);
  std::string deep = "1";
  for (int i = 0; i < 1000; ++i) deep = "{\"a\":" + deep + "}";
  chat.tools = {R"({"type":"function","function":{"name":"f","parameters":)" + deep + "}}"};
  CHECK(refused(chat, "tools[0]") != FACET_OK);
  chat.tools = {std::string(protocol::kMaxToolsBytes, '[')};
  CHECK(refused(chat, "tools[0]") != FACET_OK);

  chat = conversation();
  chat.messages.push_back({.role = Role::kAssistant, .tool_calls = {{"c", "f", std::string(200000, '[')}}});
  CHECK(refused(chat, "tool_calls[0]") != FACET_OK);

  chat = conversation();
  chat.messages.assign(protocol::kMaxChatMessages, {.content = {{"a"}}});
  CHECK(refused(chat, "context") == FACET_TOO_LARGE);

  chat.messages = {{.content = {{std::string(2 << 20, 'x')}}}};
  CHECK(refused(chat, "or more tokens") == FACET_TOO_LARGE);  // before it is encoded
  chat.messages.push_back({.role = Role::kAssistant, .tool_calls = {{"c", "f", "["}}});
  CHECK(refused(chat, "or more tokens") == FACET_TOO_LARGE);  // before it is written out

  chat = conversation();
  chat.tools = {kTool};
  CHECK(bench.answer(bench.start(request_of(chat), path)).ids.size() == 6);
}

TEST_CASE("a template of the file that is no official one is warned of") {
  // The tiny models have short templates of their own.
  CHECK_FALSE(engine::chat_warning_of(*Loaded("e2b").model).empty());
}
