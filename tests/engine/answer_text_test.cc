// Scripted answers in the real vocabulary of Gemma 4.
#include "daemon/engine/answer_text.h"

#include <doctest/doctest.h>

#include "daemon/model/gguf.h"
#include "daemon/model/vocabulary_gguf.h"
#include "sdk/protocol/limits.h"
#include "tests/test_models.h"

using namespace facet;
using engine::AnswerText;

namespace {

struct Loaded {
  model::GgufFile file;
  text::Tokenizer tokenizer;
  text::ChatFormat format;
};

const Loaded& gemma4() {
  static const Loaded loaded = [] {
    auto file = model::GgufFile::open(test::gemma4_vocabulary_path());
    REQUIRE_MESSAGE(file.ok(), file.error().message);
    auto vocabulary = model::read_vocabulary(*file);
    REQUIRE_MESSAGE(vocabulary.ok(), vocabulary.error().message);
    auto tokenizer = text::Tokenizer::make(std::move(*vocabulary));
    REQUIRE_MESSAGE(tokenizer.ok(), tokenizer.error().message);
    auto format = text::ChatFormat::make(text::ChatFamily::kGemma4, tokenizer->vocabulary());
    REQUIRE_MESSAGE(format.ok(), format.error().message);
    return Loaded{std::move(*file), std::move(*tokenizer), std::move(*format)};
  }();
  return loaded;
}

// The tokens of an answer in which the names of control tokens are control tokens.
std::vector<text::Token> tokens_of(const std::string& answer) {
  auto tokens = gemma4().tokenizer.encode(answer, {.special = true});
  REQUIRE(tokens.ok());
  return *tokens;
}

text::Token byte_token(uint8_t byte) {
  const text::Vocabulary& vocabulary = gemma4().tokenizer.vocabulary();
  for (text::Token token = 0; vocabulary.contains(token); ++token) {
    if (vocabulary.kind(token) == text::TokenKind::kByte && vocabulary.byte(token) == byte) return token;
  }
  FAIL("no token of that byte");
  return -1;
}

AnswerText answer_text(const std::vector<std::string>& stops = {}, size_t first_call = 0) {
  auto matcher = text::StopMatcher::create(stops);
  REQUIRE(matcher.ok());
  AnswerText answer(gemma4().tokenizer, std::move(*matcher));
  answer.read_chat(gemma4().format, first_call);
  return answer;
}

struct Whole {
  std::string text;
  std::string thought;
  std::vector<protocol::ToolCall> calls;
  std::vector<std::string> malformed;

  void add(const AnswerText::Shown& shown) {
    text += shown.text;
    for (const auto& part : shown.parts) {
      if (auto* piece = std::get_if<protocol::Thought>(&part)) thought += piece->text;
      if (auto* call = std::get_if<protocol::ToolCall>(&part)) calls.push_back(*call);
      if (auto* piece = std::get_if<protocol::MalformedCall>(&part)) malformed.push_back(piece->text);
    }
  }
};

Whole whole_of(AnswerText&& answer, const std::vector<text::Token>& tokens) {
  Whole whole;
  for (text::Token token : tokens) {
    whole.add(answer.push(token));
    if (answer.stopped()) break;
  }
  whole.add(answer.finish());
  return whole;
}

}  // namespace

TEST_CASE("answer text: thoughts, text and calls come out apart") {
  AnswerText answer = answer_text({}, 3);
  const auto tokens = tokens_of(
      "<|channel>thought\nThe city is Zürich.<channel|>I look: "
      "<|tool_call>call:get_weather{city:<|\"|>Zürich<|\"|>,days:2}<tool_call|>"
      "<|tool_call>call:now{}<tool_call|>");
  Whole whole;
  for (text::Token token : tokens) {
    CHECK_FALSE(answer.ends(token));
    whole.add(answer.push(token));
  }
  CHECK(answer.called_tools());
  whole.add(answer.finish());
  CHECK(whole.text == "I look: ");
  CHECK(whole.thought == "The city is Zürich.");
  CHECK(whole.calls ==
        std::vector<protocol::ToolCall>{{"call_3", "get_weather", R"({"city":"Zürich","days":2})"},
                                        {"call_4", "now", "{}"}});
  CHECK(whole.malformed.empty());
}

TEST_CASE("answer text: what ends a turn ends the answer") {
  const AnswerText answer = answer_text();
  for (const char* mark : {"<turn|>", "<|tool_response>", "<eos>"}) {
    CAPTURE(mark);
    REQUIRE(tokens_of(mark).size() == 1);
    CHECK(answer.ends(tokens_of(mark)[0]));
  }
  CHECK_FALSE(answer.ends(tokens_of("<|tool_call>")[0]));
  CHECK_FALSE(answer.ends(tokens_of("word")[0]));
}

TEST_CASE("answer text: a call that is none or is cut off is delivered with its text") {
  auto whole = whole_of(answer_text(), tokens_of("<|tool_call>call:f{a:<tool_call|>so"));
  CHECK(whole.text == "so");
  CHECK(whole.calls.empty());
  REQUIRE(whole.malformed.size() == 1);
  CHECK(whole.malformed[0] == "<|tool_call>call:f{a:<tool_call|>");

  AnswerText answer = answer_text();
  CHECK(answer.push(tokens_of("<|tool_call>")[0]).parts.empty());
  for (text::Token token : tokens_of("call:f{")) CHECK(answer.push(token).parts.empty());
  const auto rest = answer.finish();
  REQUIRE(rest.parts.size() == 1);
  CHECK(std::get<protocol::MalformedCall>(rest.parts[0]).text == "<|tool_call>call:f{");
  CHECK_FALSE(answer.called_tools());
}

TEST_CASE("answer text: stop strings count in the visible text alone") {
  const auto tokens = tokens_of(
      "<|channel>thought\nhalt here<channel|>ha<|tool_call>call:f{x:<|\"|>halt<|\"|>}<tool_call|>lt halt "
      "rest");
  const auto whole = whole_of(answer_text({"halt"}), tokens);
  CHECK(whole.thought == "halt here");
  CHECK(whole.calls.size() == 1);
  CHECK(whole.text == "halt ");  // "ha" and "lt" stand on both sides of the call
  const auto part_of_thought =
      whole_of(answer_text({"he"}), tokens_of("<|channel>thought\nx<channel|>to her"));
  CHECK(part_of_thought.text == "to ");
}

TEST_CASE("answer text: text that was held comes out with the part that follows it") {
  AnswerText answer = answer_text({"stop"});
  Whole whole;
  for (text::Token token : tokens_of("please st<|tool_call>call:f{}")) whole.add(answer.push(token));
  CHECK(whole.text == "please ");
  const auto closed = answer.push(tokens_of("<tool_call|>")[0]);
  CHECK(closed.text == "st");
  CHECK(closed.parts.size() == 1);
  CHECK(answer.push(tokens_of("op")[0]).text == "op");
}

TEST_CASE("answer text: a character that a mark cuts is replaced where it stood") {
  AnswerText answer = answer_text();
  Whole whole;
  whole.add(answer.push(tokens_of("<|channel>")[0]));
  for (text::Token token : tokens_of("thought\nx")) whole.add(answer.push(token));
  whole.add(answer.push(byte_token(0xC3)));
  whole.add(answer.push(tokens_of("<channel|>")[0]));
  for (text::Token token : tokens_of("y")) whole.add(answer.push(token));
  whole.add(answer.finish());
  CHECK(whole.thought == "x\uFFFD");
  CHECK(whole.text == "y");
}

TEST_CASE("answer text: without a chat, what would be a mark is as any token") {
  AnswerText answer(gemma4().tokenizer, *text::StopMatcher::create({}));
  const auto tokens = tokens_of("x<|tool_call>call:f{}<tool_call|>y");
  auto bytes = gemma4().tokenizer.decode(tokens);
  REQUIRE(bytes.ok());
  const auto whole = whole_of(std::move(answer), tokens);
  CHECK(whole.text == *bytes);
  CHECK(whole.calls.empty());
  CHECK(whole.malformed.empty());
}

TEST_CASE("answer text: a call as long as may be, and one that is longer, fit into their messages") {
  const auto open = tokens_of("<|tool_call>")[0], close = tokens_of("<tool_call|>")[0];
  const auto quote = tokens_of("<|\"|>")[0];
  const auto escaped = byte_token(0x01);  // six bytes as JSON
  for (const bool fits : {true, false}) {
    AnswerText answer = answer_text();
    Whole whole;
    auto push = [&](text::Token token) {
      const auto shown = answer.push(token);
      for (const auto& part : shown.parts) {
        if (auto* call = std::get_if<protocol::ToolCall>(&part)) {
          CHECK(call->arguments.size() <= protocol::kMaxArgumentsBytes);
        } else if (auto* malformed = std::get_if<protocol::MalformedCall>(&part)) {
          CHECK(malformed->text.size() <= protocol::kMaxArgumentsBytes);
        }
      }
      whole.add(shown);
    };
    push(open);
    for (text::Token token : tokens_of("call:f{a:")) push(token);
    push(quote);
    const size_t bytes = text::kMaxCallBytes - (fits ? 100 : 0);
    for (size_t i = 0; i < bytes; ++i) push(escaped);
    push(quote);
    for (text::Token token : tokens_of("}")) push(token);
    push(close);
    whole.add(answer.finish());
    CHECK(whole.calls.size() == (fits ? 1 : 0));
    size_t malformed = 0;
    for (const auto& text : whole.malformed) malformed += text.size();
    if (fits) {
      CHECK(whole.calls[0].arguments.size() > 5 * bytes);
      CHECK(malformed == 0);
    } else {
      CHECK(malformed > bytes);
    }
  }
}
