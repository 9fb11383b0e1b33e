#include "daemon/link/codec.h"

#include <doctest/doctest.h>

#include <random>

#include "daemon/link/link.capnp.h"
#include "sdk/protocol/codec_frame.h"

using namespace facet;
using namespace facet::link;

namespace {

template <typename Message>
Bytes frame_of(const Message& message) {
  Bytes frame;
  REQUIRE(encode(message, frame).ok());
  return frame;
}

template <typename Struct>
Struct through_engine(const Struct& message) {
  auto back = decode_to_engine(frame_of(ToEngine(message)));
  REQUIRE_MESSAGE(back.ok(), back.error().message);
  return std::get<Struct>(*back);
}

template <typename Struct>
Struct through_broker(const Struct& message) {
  auto back = decode_from_engine(frame_of(FromEngine(message)));
  REQUIRE(back.ok());
  return std::get<Struct>(*back);
}

Start full_start() {
  Start start;
  start.path = "/models/a b.gguf";
  start.request.id = 7;
  start.request.model = "a b";
  start.request.prompt = protocol::TokenIds{2, 651, 9};
  start.request.max_tokens = 5;
  start.request.stop = {"\n\n", "end"};
  start.request.sampling.seed = ~0ull;
  start.request.sampling.logit_bias = {{3, -1.5f}};
  start.request.priority = protocol::Priority::kBackground;
  start.request.credit = 64;
  start.deadline = INT64_MAX;
  return start;
}

}  // namespace

TEST_CASE("link codec: what the broker says comes through whole") {
  const auto hello = through_engine(BrokerHello{9, {"cache=f32", "backend="}});
  CHECK(hello.version == 9);
  CHECK(hello.settings == std::vector<std::string>{"cache=f32", "backend="});
  CHECK(through_engine(Cancel{12}).id == 12);
  CHECK(through_engine(Credit{12, 34}).tokens == 34);
  CHECK(through_engine(GetPositions{{1, ~0ull}}).ids == std::vector<uint64_t>{1, ~0ull});
  const auto prompt = through_engine(RegisterPrompt{"help", "a b", "/models/a b.gguf", "Größe\n", true});
  CHECK(prompt.name == "help");
  CHECK(prompt.model == "a b");
  CHECK(prompt.path == "/models/a b.gguf");
  CHECK(prompt.system == "Größe\n");
  CHECK(prompt.thinking);
  const Start start = through_engine(full_start());
  CHECK(start.path == "/models/a b.gguf");
  CHECK(start.request.id == 7);
  CHECK(start.request.model == "a b");
  CHECK(std::get<protocol::TokenIds>(start.request.prompt) == protocol::TokenIds{2, 651, 9});
  CHECK(start.request.max_tokens == 5);
  CHECK(start.request.stop == std::vector<std::string>{"\n\n", "end"});
  CHECK(start.request.sampling.seed == ~0ull);
  CHECK(start.request.sampling.logit_bias.at(0).second == -1.5f);
  CHECK(start.request.priority == protocol::Priority::kBackground);
  CHECK(start.request.credit == 64);
  CHECK(start.deadline == INT64_MAX);
}

TEST_CASE("link codec: a chat and the parts of its answer come through whole") {
  Start start = full_start();
  protocol::Chat chat;
  chat.messages = {{.content = {{"Größe"}}},
                   {.role = protocol::Role::kAssistant, .tool_calls = {{"call_0", "get", "{}"}}}};
  chat.tools = {"{}"};
  chat.thinking = true;
  start.request.prompt = chat;
  CHECK(std::get<protocol::Chat>(through_engine(start).request.prompt) == chat);

  const std::vector<protocol::Part> parts = {
      protocol::Thought{"hm"}, protocol::ToolCall{"call_0", "get", "{}"}, protocol::MalformedCall{"call:"}};
  CHECK(through_broker(protocol::Token{5, 2, 99, "é", -0.5f, {}, parts}).parts == parts);
  const auto finish =
      through_broker(protocol::Finish{5, protocol::FinishReason::kToolCalls, "", {}, {}, parts});
  CHECK(finish.parts == parts);
  CHECK(finish.reason == protocol::FinishReason::kToolCalls);
}

TEST_CASE("link codec: what the engine says comes through whole") {
  const auto hello = through_broker(EngineHello{3, "facet-engine 1", "reference", "scalar"});
  CHECK(hello.version == 3);
  CHECK(hello.engine == "facet-engine 1");
  CHECK(hello.backend == "reference");
  CHECK(hello.numerics == "scalar");
  protocol::Model model;
  model.name = "m";
  model.state = protocol::ModelState::kFailed;
  model.error = "no such file";
  CHECK(through_broker(ModelChanged{model}).model.error == "no such file");
  CHECK(through_broker(ModelChanged{model}).model.state == protocol::ModelState::kFailed);
  CHECK(through_broker(Started{5, 17}).prompt_tokens == 17);
  CHECK(through_broker(protocol::Token{5, 2, 99, "é", -0.5f, {{4, -1}}}).text == "é");
  CHECK(through_broker(protocol::Finish{5, protocol::FinishReason::kLength, "x", {1, 2}, {3, 4, 5}})
            .timings.generate == 5);
  CHECK(through_broker(protocol::Failed{5, FACET_EXHAUSTED, "full"}).code == FACET_EXHAUSTED);
  const auto load = through_broker(Load{1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(load.running == 1);
  CHECK(load.waiting == 2);
  CHECK(load.cache_pages == 3);
  CHECK(load.cache_pages_free == 4);
  CHECK(load.registered_prompts == 9);
  CHECK(load.registered_tokens == 10);
  const std::vector<Position> told = {{5, 1, 0}, {6, 2, protocol::kMaxWaitMs}};
  CHECK(through_broker(Positions{told}).requests == told);
}

TEST_CASE("link codec: the largest request of a client fits with its path") {
  Start start;
  start.request.prompt = std::string(protocol::kMaxMessageBytes - 512, 'x');
  Bytes as_client;
  REQUIRE(protocol::encode(protocol::ClientMessage(start.request), as_client).ok());
  start.path = std::string(kMaxPathBytes, 'p');
  start.request.model = std::string(protocol::kMaxNameBytes, 'm');
  CHECK(decode_to_engine(frame_of(ToEngine(start))).ok());
}

TEST_CASE("link codec: bounds and UTF-8 hold in both directions") {
  Bytes frame;
  Start start = full_start();
  start.path = std::string(kMaxPathBytes + 1, 'p');
  CHECK(encode(ToEngine(start), frame).error().code == FACET_TOO_LARGE);
  start.path = "\xff";
  CHECK(encode(ToEngine(start), frame).error().code == FACET_INVALID_ARGUMENT);
  CHECK(frame.empty());
  start = full_start();
  start.deadline = -1;
  CHECK(decode_to_engine(frame_of(ToEngine(start))).error().code == FACET_INVALID_ARGUMENT);
  CHECK(encode(ToEngine(BrokerHello{1, std::vector<std::string>(kMaxSettings + 1)}), frame).error().code ==
        FACET_TOO_LARGE);
  const std::vector<uint64_t> ids(kMaxPositions + 1);
  CHECK(encode(ToEngine(GetPositions{ids}), frame).error().code == FACET_TOO_LARGE);
  const std::vector<Position> positions(kMaxPositions + 1);
  CHECK(encode(FromEngine(Positions{positions}), frame).error().code == FACET_TOO_LARGE);
  const std::string long_name(protocol::kMaxNameBytes + 1, 'n');
  CHECK(encode(FromEngine(EngineHello{1, long_name, "", ""}), frame).error().code == FACET_TOO_LARGE);

  Bytes good = frame_of(FromEngine(protocol::Token{5, 2, 99, "zzzz", 0, {}}));
  for (auto& byte : good) {
    if (byte == std::byte{'z'}) byte = std::byte{0xff};
  }
  CHECK(decode_from_engine(good).error().code == FACET_MALFORMED);
}

TEST_CASE("link codec: a registered prompt has bounds, and the largest comes through") {
  Bytes frame;
  const auto refused = [&](const RegisterPrompt& prompt) {
    const auto encoded = encode(ToEngine(prompt), frame);
    CHECK(frame.empty());
    return encoded.error().code;
  };
  const RegisterPrompt most{std::string(protocol::kMaxNameBytes, 'n'),
                            std::string(protocol::kMaxNameBytes, 'm'), std::string(kMaxPathBytes, 'p'),
                            std::string(kMaxSystemBytes, 's'), false};
  CHECK(through_engine(most).system == most.system);
  for (auto field :
       {&RegisterPrompt::name, &RegisterPrompt::model, &RegisterPrompt::path, &RegisterPrompt::system}) {
    RegisterPrompt more = most;
    more.*field += 'x';
    CHECK(refused(more) == FACET_TOO_LARGE);
    more.*field = "\xff";
    CHECK(refused(more) == FACET_INVALID_ARGUMENT);
  }
  const auto too_long = [](facet::link::wire::ToEngine::Builder to) -> Result<void> {
    to.initRegisterPrompt().initSystem(kMaxSystemBytes + 1);
    return {};
  };
  REQUIRE(protocol::write_frame<facet::link::wire::ToEngine>(frame, too_long).ok());
  CHECK(decode_to_engine(frame).error().code == FACET_TOO_LARGE);
}

TEST_CASE("link codec: more positions than may be are refused, and a wait has a bound") {
  Bytes frame;
  const auto asks = [](facet::link::wire::ToEngine::Builder to) -> Result<void> {
    to.initGetPositions().initIds(kMaxPositions + 1);
    return {};
  };
  REQUIRE(protocol::write_frame<facet::link::wire::ToEngine>(frame, asks).ok());
  CHECK(decode_to_engine(frame).error().code == FACET_TOO_LARGE);
  frame.clear();
  const auto tells = [](facet::link::wire::FromEngine::Builder to) -> Result<void> {
    to.initPositions().initRequests(kMaxPositions + 1);
    return {};
  };
  REQUIRE(protocol::write_frame<facet::link::wire::FromEngine>(frame, tells).ok());
  CHECK(decode_from_engine(frame).error().code == FACET_TOO_LARGE);
  const auto told = through_broker(Positions{{{5, ~0u, ~0u}}}).requests;
  CHECK(told == std::vector<Position>{{5, ~0u, protocol::kMaxWaitMs}});
}

TEST_CASE("link codec: no damaged frame does harm") {
  std::mt19937 random(1);
  const Bytes start = frame_of(ToEngine(full_start()));
  const Bytes prompt = frame_of(ToEngine(RegisterPrompt{"help", "m", "/m.gguf", "Be terse.", true}));
  const Bytes token = frame_of(FromEngine(protocol::Token{5, 2, 99, "text", 0, {{1, 2}, {3, 4}}}));
  int refused = 0;
  for (int round = 0; round < 30000; ++round) {
    Bytes damaged = round % 2 == 0 ? token : round % 3 == 0 ? prompt : start;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) damaged[random() % damaged.size()] = std::byte(random() & 0xff);
    if (random() % 8 == 0) damaged.resize(random() % damaged.size());
    refused += round % 2 ? !decode_to_engine(damaged).ok() : !decode_from_engine(damaged).ok();
  }
  CHECK(refused > 1000);
  CHECK(!decode_to_engine(Frame()).ok());
}
