// Chats through facetd, facet-engine and `facet chat`, with a tiny Gemma 4.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "sdk/protocol/codec_frame.h"
#include "sdk/protocol/facet.capnp.h"
#include "sdk/protocol/limits.h"
#include "tests/sdk/program.h"
#include "tests/system/process.h"
#include "tests/test_models.h"

using namespace facet;
using test::Daemon;
using test::InputFile;

namespace {

std::vector<std::string> serving_e2b() {
  return {"--model", test::tiny_model_path("e2b"), "--backend", "reference"};
}

protocol::Generate chat_request(uint64_t id, protocol::Chat chat) {
  protocol::Generate generate;
  generate.id = id;
  generate.prompt = std::move(chat);
  generate.max_tokens = 4;
  generate.ignore_end = true;
  generate.sampling.temperature = 0;
  return generate;
}

protocol::Chat hello() {
  protocol::Chat chat;
  chat.messages = {{.content = {{"Hello"}}}};
  return chat;
}

// A request for a chat of so many empty messages.
protocol::Bytes request_with_messages(unsigned count) {
  protocol::Bytes bytes;
  REQUIRE(protocol::write_frame<wire::ClientMessage>(
              bytes,
              [&](wire::ClientMessage::Builder root) -> Result<void> {
                auto generate = root.initGenerate();
                generate.setId(7);
                generate.initPrompt().initChat().initMessages(count);
                return {};
              },
              16 << 20)
              .ok());
  return bytes;
}

}  // namespace

TEST_CASE("system: facet chat holds a conversation with a model") {
  Daemon daemon(serving_e2b());
  InputFile input("Hello\nAnd again\n");
  const auto end =
      test::run(daemon.socket(), {"chat", "--json", "-n", "4", "--temperature", "0", "--system", "Be terse."},
                input.path());
  CAPTURE(end.error);
  CHECK(end.code == 0);
  std::vector<nlohmann::json> finishes;
  std::istringstream lines(end.output);
  for (std::string line; std::getline(lines, line);) {
    auto event = nlohmann::json::parse(line);
    if (event["type"] == "finish") finishes.push_back(event);
  }
  REQUIRE(finishes.size() == 2);
  CHECK(finishes[0]["usage"]["prompt_tokens"] > 10);
  CHECK(finishes[1]["usage"]["prompt_tokens"] > finishes[0]["usage"]["prompt_tokens"]);
}

TEST_CASE(
    "system: a user's first chat with a registered system prompt begins behind it, also after an engine's "
    "loss") {
  std::string system;
  for (int n = 0; n < 60; ++n) system += "line " + std::to_string(n) + "\n";
  test::Folder folder;
  std::ofstream(folder / "system.txt") << system;
  std::ofstream(folder / "facetd.toml") << "[prompt.lines]\nmodel = 'e2b'\nsystem_file = '" +
                                               (folder / "system.txt") +
                                               "'\n[prompt.short]\nsystem = 'Be terse.'\n";
  auto chat = hello();
  chat.messages.insert(chat.messages.begin(), {.role = protocol::Role::kSystem, .content = {{system}}});
  const auto finish_of = [](test::Client& client, uint64_t id, std::vector<uint32_t>& ids) {
    for (;;) {
      auto message = client.receive();
      if (auto* token = std::get_if<protocol::Token>(&message)) ids.push_back(token->token);
      REQUIRE_FALSE(std::holds_alternative<protocol::Failed>(message));
      auto* finish = std::get_if<protocol::Finish>(&message);
      if (finish && finish->id == id) return *finish;
    }
  };
  std::vector<uint32_t> expected;
  {
    Daemon plain(serving_e2b());
    test::Client client = plain.client();
    client.send(chat_request(1, chat));
    CHECK(finish_of(client, 1, expected).usage.cached_tokens == 0);
  }
  auto arguments = serving_e2b();
  arguments.insert(arguments.end(), {"--config", folder / "facetd.toml"});
  Daemon daemon(arguments);
  for (int start = 0; start < 2; ++start) {
    test::Client client = daemon.client();
    CHECK(client.status().registered_prompts == 0);
    client.send(chat_request(1, hello()));  // loads the model
    CHECK(test::answer_of(client, 1).size() == 4);
    REQUIRE(test::comes_true([&] { return client.status().registered_prompts == 1; }));
    const auto kept = client.status().registered_tokens;
    CHECK(kept >= 256);
    client.send(chat_request(2, chat));
    std::vector<uint32_t> ids;
    const auto finish = finish_of(client, 2, ids);
    CHECK(finish.usage.cached_tokens == kept);
    CHECK(finish.usage.prompt_tokens - kept < 100);
    CHECK(ids == expected);
    CHECK(daemon.logs("prompt short: left out of model e2b: "));
    const auto end = test::run(daemon.socket(), {"status"});
    CHECK(end.output.find("prompts      1 registered, " + std::to_string(kept) + " tokens kept") !=
          std::string::npos);
    ::kill(daemon.engine(), SIGKILL);
    REQUIRE(test::comes_true([&] {
      const auto status = client.status();
      return status.engine == "running" && status.engine_starts == static_cast<uint32_t>(start + 2);
    }));
  }
}

TEST_CASE("system: the hello says that the daemon chats, and how much it takes") {
  Daemon daemon(serving_e2b());
  test::Client client;
  REQUIRE(client.connect(daemon.socket()));
  const auto hello = client.greet("test");
  CHECK(hello.features == std::vector<std::string>{protocol::kFeatureChat, protocol::kFeatureDeadline,
                                                   protocol::kFeatureChoices});
  CHECK(hello.limits.chat_messages == protocol::kMaxChatMessages);
  CHECK(hello.limits.content_parts == protocol::kMaxContentParts);
  CHECK(hello.limits.tool_calls == protocol::kMaxToolCalls);
  CHECK(hello.limits.arguments_bytes == protocol::kMaxArgumentsBytes);
  CHECK(hello.limits.tools == protocol::kMaxTools);
  CHECK(hello.limits.tools_bytes == protocol::kMaxToolsBytes);
  CHECK(hello.limits.json_nesting == protocol::kMaxJsonNesting);
  CHECK(hello.limits.chat_parts == protocol::kMaxChatParts);
  CHECK(hello.limits.choices == protocol::kMaxChoices);
}

TEST_CASE("system: a chat that cannot be fails alone, and one that breaks the protocol ends its connection") {
  Daemon daemon(serving_e2b());
  test::Client client = daemon.client();
  auto refused = [&](uint64_t id, const std::string& named) {
    const auto failed = client.receive_as<protocol::Failed>();
    CAPTURE(failed.message);
    CHECK(failed.id == id);
    CHECK(failed.message.find(named) != std::string::npos);
    return failed.code;
  };
  auto chat = hello();
  std::string deep = "{}";
  for (int i = 0; i < 1000; ++i) deep = "{\"a\":" + deep + "}";
  chat.tools = {deep};
  client.send(chat_request(1, chat));
  CHECK(refused(1, "tools[0]") != FACET_OK);

  client.send_bytes(request_with_messages(protocol::kMaxChatMessages + 1));
  CHECK(refused(7, "messages in a chat") == FACET_TOO_LARGE);
  client.send_bytes(request_with_messages(1));  // an empty one
  CHECK(std::holds_alternative<protocol::Token>(client.receive()));
  client.send(protocol::Cancel{7});
  while (!std::holds_alternative<protocol::Finish>(client.receive())) {
  }

  client.send(chat_request(2, hello()));
  CHECK(test::answer_of(client, 2).size() == 4);

  auto vast = request_with_messages(100'000);
  vast.resize(4096);  // its head is enough
  client.send_bytes(vast);
  CHECK(refused(0, "bytes") == FACET_TOO_LARGE);

  test::Client other = daemon.client();
  other.send(chat_request(3, hello()));
  CHECK(test::answer_of(other, 3).size() == 4);
}
