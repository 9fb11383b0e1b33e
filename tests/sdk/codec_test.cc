#include "sdk/protocol/codec.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "sdk/protocol/limits.h"
#include "sdk/protocol/utf8.h"
#include "tests/sdk/sample_messages.h"

using namespace facet;
using namespace facet::protocol;

namespace {

template <typename Message>
Bytes bytes_of(const Message& message) {
  Bytes bytes;
  auto encoded = encode(message, bytes);
  REQUIRE_MESSAGE(encoded.ok(), encoded.error().message);
  return bytes;
}

template <typename Struct>
Struct through_client(const Struct& message) {
  auto back = decode_client(bytes_of(ClientMessage(message)));
  REQUIRE_MESSAGE(back.ok(), back.error().message);
  return std::get<Struct>(*back);
}

template <typename Struct>
Struct through_server(const Struct& message) {
  auto back = decode_server(bytes_of(ServerMessage(message)));
  REQUIRE_MESSAGE(back.ok(), back.error().message);
  return std::get<Struct>(*back);
}

facet_status refusal(const ClientMessage& message) {
  Bytes bytes(3);
  auto encoded = encode(message, bytes);
  CHECK(bytes.size() == (encoded.ok() ? bytes.size() : 3));
  return encoded.ok() ? FACET_OK : encoded.error().code;
}

facet_status refusal_of(const Generate& request) {
  return refusal(ClientMessage(request));
}

}  // namespace

TEST_CASE("codec: what is decoded encodes to the same bytes") {
  for (const auto& message : client_samples()) {
    Bytes bytes = bytes_of(message);
    auto back = decode_client(bytes);
    REQUIRE(back.ok());
    CHECK(back->index() == message.index());
    CHECK(bytes_of(*back) == bytes);
  }
  for (const auto& message : server_samples()) {
    Bytes bytes = bytes_of(message);
    auto back = decode_server(bytes);
    REQUIRE(back.ok());
    CHECK(back->index() == message.index());
    CHECK(bytes_of(*back) == bytes);
  }
}

TEST_CASE("codec: a request comes through whole") {
  const Generate sent = sample_generate();
  const Generate got = through_client(sent);
  CHECK(got.id == sent.id);
  CHECK(got.model == sent.model);
  CHECK(got.prompt == sent.prompt);
  CHECK(got.parse_special);
  CHECK(got.max_tokens == 100);
  CHECK(got.stop == sent.stop);
  CHECK(got.ignore_end);
  CHECK(got.priority == Priority::kBackground);
  CHECK(got.credit == 64);
  CHECK(got.deadline_ms == 2500);
  CHECK(got.choices == 3);
  CHECK(got.sampling.temperature == 0.5f);
  CHECK(got.sampling.top_k == 40);
  CHECK(got.sampling.top_p == 0.9f);
  CHECK(got.sampling.min_p == 0.05f);
  CHECK(got.sampling.repeat_penalty == 1.1f);
  CHECK(got.sampling.repeat_last_n == 32);
  CHECK(got.sampling.presence_penalty == 0.25f);
  CHECK(got.sampling.frequency_penalty == -0.5f);
  CHECK(got.sampling.seed == ~uint64_t{0});
  CHECK(got.sampling.logit_bias == sent.sampling.logit_bias);
  CHECK(got.sampling.logprobs == 5);
  CHECK(got.sampling.report_logprobs);

  Generate of_ids;
  of_ids.prompt = TokenIds{2, 651, 262143};
  CHECK(through_client(of_ids).prompt == of_ids.prompt);
  CHECK(through_client(ClientHello{1, 3, "tester"}).version_max == 3);
  CHECK(through_client(Credit{10, 32}).tokens == 32);
}

TEST_CASE("codec: a chat comes through whole") {
  Generate sent;
  sent.prompt = sample_chat();
  CHECK(through_client(sent).prompt == sent.prompt);
  sent.prompt = Chat();
  CHECK(through_client(sent).prompt == sent.prompt);
}

TEST_CASE("codec: limits and features come through whole") {
  ServerHello sent;
  sent.features = {kFeatureChat};
  sent.limits = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  const ServerHello got = through_server(sent);
  CHECK(got.features == sent.features);
  CHECK(got.limits == sent.limits);
}

TEST_CASE("codec: answers come through whole") {
  const Token token = through_server(sample_token());
  CHECK(token.id == 7);
  CHECK(token.sequence == 3);
  CHECK(token.token == 651);
  CHECK(token.text == " Größe");
  CHECK(token.logprob == -0.5f);
  REQUIRE(token.alternatives.size() == 2);
  CHECK(token.alternatives[1].token == 10);
  CHECK(token.alternatives[1].logprob == -2.0f);
  CHECK(token.parts == sample_token().parts);

  const Finish finish = through_server(
      Finish{7, FinishReason::kCancelled, "rest", {10, 20}, {1, 2, 3}, {MalformedCall{"call:"}}});
  CHECK(finish.reason == FinishReason::kCancelled);
  CHECK(finish.text == "rest");
  CHECK(finish.usage.generated_tokens == 20);
  CHECK(finish.timings.prompt == 2);
  CHECK(finish.parts == std::vector<Part>{MalformedCall{"call:"}});

  const Failed failed = through_server(Failed{7, FACET_DEADLINE, "why", 1200});
  CHECK(failed.code == FACET_DEADLINE);
  CHECK(failed.retry_after_ms == 1200);
  CHECK(through_server(Failed{7, FACET_EXHAUSTED, "", ~0u}).retry_after_ms == kMaxRetryAfterMs);
  CHECK(failed.message == "why");
}

TEST_CASE("codec: values that only the daemon can judge pass") {
  Generate request;
  request.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  request.sampling.top_p = -std::numeric_limits<float>::infinity();
  const Generate got = through_client(request);
  CHECK(got.id == 0);
  CHECK(got.sampling.temperature != got.sampling.temperature);
  CHECK(got.sampling.top_p == request.sampling.top_p);
}

TEST_CASE("codec: what is over a bound is not encoded, what is at it is") {
  Generate request;
  request.stop.assign(kMaxStopStrings, std::string(kMaxStopBytes, 'x'));
  request.sampling.logit_bias.resize(kMaxLogitBiases);
  request.sampling.logprobs = kMaxLogprobs;
  request.model = std::string(kMaxNameBytes, 'x');
  request.deadline_ms = kMaxDeadlineMs;
  request.choices = kMaxChoices;
  CHECK(refusal_of(request) == FACET_OK);

  auto changed = [&](auto change) {
    Generate other = request;
    change(other);
    return refusal_of(other);
  };
  CHECK(changed([](Generate& r) { r.stop.push_back("x"); }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { r.stop[1] += "x"; }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { r.sampling.logit_bias.emplace_back(); }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { ++r.sampling.logprobs; }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { ++r.deadline_ms; }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { ++r.choices; }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { r.model += "x"; }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { r.prompt = std::string(kMaxMessageBytes, 'x'); }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { r.prompt = TokenIds(kMaxMessageBytes / 4); }) == FACET_TOO_LARGE);
  CHECK(changed([](Generate& r) { r.prompt = std::string(kMaxMessageBytes / 2, 'x'); }) == FACET_OK);
  CHECK(changed([](Generate& r) { r.prompt = "\xFF"; }) == FACET_INVALID_ARGUMENT);
  CHECK(changed([](Generate& r) { r.stop[0] = "\xC3"; }) == FACET_INVALID_ARGUMENT);
}

TEST_CASE("codec: a chat over a bound is not encoded, at it it is") {
  const Message full = {.role = Role::kAssistant,
                        .content = std::vector<ContentPart>(kMaxContentParts),
                        .tool_calls = std::vector<ToolCall>(kMaxToolCalls)};
  Chat chat;
  chat.messages.resize(kMaxChatMessages);
  chat.messages[0] = full;
  chat.messages[1].tool_calls = {
      {std::string(kMaxNameBytes, 'i'), "n", std::string(kMaxArgumentsBytes, ' ')}};
  chat.tools.resize(kMaxTools);
  chat.tools[1] = std::string(kMaxToolsBytes, ' ');
  auto changed = [&](auto change) {
    Generate request;
    Chat other = chat;
    change(other);
    request.prompt = std::move(other);
    return refusal_of(request);
  };
  CHECK(changed([](Chat&) {}) == FACET_OK);
  CHECK(changed([](Chat& c) { c.messages.emplace_back(); }) == FACET_TOO_LARGE);
  CHECK(changed([](Chat& c) { c.messages[0].content.emplace_back(); }) == FACET_TOO_LARGE);
  auto fill = [](Chat& c) {
    for (size_t i = 2; i < 2 + kMaxChatParts / kMaxContentParts - 2; ++i) {
      c.messages[i].content.resize(kMaxContentParts);
    }
    c.messages[100].content.resize(kMaxContentParts - kMaxToolCalls - 1);  // and those of messages 0 and 1
  };
  CHECK(changed([&](Chat& c) { fill(c); }) == FACET_OK);
  CHECK(changed([&](Chat& c) {
          fill(c);
          c.messages[1].content.emplace_back();
        }) == FACET_TOO_LARGE);
  CHECK(changed([](Chat& c) { c.messages[0].tool_calls.emplace_back(); }) == FACET_TOO_LARGE);
  CHECK(changed([](Chat& c) { c.messages[1].tool_calls[0].arguments += " "; }) == FACET_TOO_LARGE);
  CHECK(changed([](Chat& c) { c.messages[1].tool_calls[0].id += "x"; }) == FACET_TOO_LARGE);
  CHECK(changed([](Chat& c) { c.tools.emplace_back(); }) == FACET_TOO_LARGE);
  CHECK(changed([](Chat& c) { c.tools[0] = " "; }) == FACET_TOO_LARGE);  // of all together
  CHECK(changed([](Chat& c) { c.messages[2].content = {{std::string(kMaxMessageBytes, 'x')}}; }) ==
        FACET_TOO_LARGE);
  for (auto field : {+[](Chat& c) -> std::string& { return c.messages[0].content[0].text; },
                     +[](Chat& c) -> std::string& { return c.messages[0].thought; },
                     +[](Chat& c) -> std::string& { return c.messages[0].tool_call_id; },
                     +[](Chat& c) -> std::string& { return c.messages[0].tool_name; },
                     +[](Chat& c) -> std::string& { return c.messages[0].tool_calls[0].id; },
                     +[](Chat& c) -> std::string& { return c.messages[0].tool_calls[0].name; },
                     +[](Chat& c) -> std::string& { return c.messages[0].tool_calls[0].arguments; },
                     +[](Chat& c) -> std::string& { return c.tools[1]; }}) {
    CHECK(changed([&](Chat& c) { field(c) = "\xC3"; }) == FACET_INVALID_ARGUMENT);
  }
  Bytes bytes;
  Token token;
  token.parts.resize(kMaxParts);
  CHECK(encode(ServerMessage(token), bytes).ok());
  token.parts.emplace_back();
  CHECK(encode(ServerMessage(token), bytes).error().code == FACET_TOO_LARGE);
  token.parts = {Thought{std::string(kMaxTokenTextBytes + 1, 'x')}};
  CHECK(encode(ServerMessage(token), bytes).error().code == FACET_TOO_LARGE);
}

TEST_CASE("codec: sentences for people are cut and repaired") {
  const Failed failed = through_server(Failed{1, FACET_IO, "\xFF" + std::string(2 * kMaxProseBytes, 'x')});
  CHECK(failed.message.size() == kMaxProseBytes);
  CHECK(is_utf8(failed.message));
  Model model;
  model.error = "bad \xC3";
  const Models models = through_server(Models{1, {model}});
  CHECK(models.models[0].error == "bad \xEF\xBF\xBD");
}

TEST_CASE("codec: encoding appends") {
  Bytes bytes;
  for (const auto& message : server_samples()) REQUIRE(encode(message, bytes).ok());
  size_t at = 0;
  for (const auto& message : server_samples()) {
    Bytes alone = bytes_of(message);
    CHECK(std::equal(alone.begin(), alone.end(), bytes.begin() + static_cast<ptrdiff_t>(at)));
    at += alone.size();
  }
  CHECK(at == bytes.size());
}

TEST_CASE("codec: a frame that is not aligned decodes too") {
  Bytes bytes = bytes_of(ServerMessage(sample_token()));
  bytes.insert(bytes.begin(), std::byte{});
  auto back = decode_server(Frame(bytes).subspan(1));
  REQUIRE(back.ok());
  CHECK(std::get<Token>(*back).text == " Größe");
}

TEST_CASE("codec: the request of a refused message can be told") {
  CHECK(request_of_client(bytes_of(ClientMessage(sample_generate()))) == 7);
  CHECK(request_of_client(bytes_of(ClientMessage(Cancel{9}))) == 9);
  CHECK(request_of_client(bytes_of(ClientMessage(ClientHello{}))) == 0);
  CHECK(request_of_client(Bytes(5)) == 0);
}

TEST_CASE("codec: a token takes about a microsecond each way") {
  const ServerMessage message =
      Token{.id = 7, .sequence = 3, .token = 651, .text = " Größe", .alternatives = {}};
  constexpr int kTimes = 20000;
  Bytes bytes;
  auto micros_each = [](auto work) {
    double best = 1e9;
    for (int round = 0; round < 5; ++round) {
      auto start = std::chrono::steady_clock::now();
      for (int i = 0; i < kTimes; ++i) work();
      best = std::min(
          best, std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    }
    return best / kTimes;
  };
  double encoding = micros_each([&] {
    bytes.clear();
    (void)encode(message, bytes).ok();
  });
  double decoding = micros_each([&] { (void)decode_server(bytes).ok(); });
  MESSAGE("encode ", encoding, " us, decode ", decoding, " us, ", bytes.size(), " bytes");
  // A machine that is busy, or a sanitizer, takes longer; ten times as long is a mistake.
  CHECK(encoding < 20);
  CHECK(decoding < 20);
}
