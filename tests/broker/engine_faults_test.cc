// facetd with engines that break the rules: each is dropped with a reason, its requests fail, the next goes
// on.
#include <asio/io_context.hpp>

#include "daemon/broker/engine_link.h"
#include "tests/broker/scripted_engine.h"

using namespace facet;
using namespace facet::test;

namespace {

// A request of three tokens is under way at the engine, two have come, when `fault` happens. The client hears
// `engine_lost` for `reason`; facetd stays, and the next engine serves the next request.
template <typename Fault>
void check_lost(const std::string& reason, Fault fault) {
  Stage stage;
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  auto three = request(5, 20, 9);
  three.credit = 3;
  client.send(three);
  const auto start = stage.engine.receive_as<link::Start>();
  CHECK(start.path == "/models/m.gguf");
  const uint64_t id = start.request.id;
  stage.engine.send(link::Started{id, 4});
  stage.engine.send_token(id, 0);
  stage.engine.send_token(id, 1);
  for (uint32_t i = 0; i < 2; ++i) CHECK(client.receive_as<protocol::Token>().sequence == i);

  fault(stage.engine, id);
  auto last = client.receive();
  while (std::holds_alternative<protocol::Token>(last)) last = client.receive();
  REQUIRE(std::holds_alternative<protocol::Failed>(last));
  const auto& failed = std::get<protocol::Failed>(last);
  CHECK(failed.id == 5);
  CHECK(failed.code == FACET_ENGINE_LOST);
  CHECK_MESSAGE(failed.message.find(reason) != std::string::npos, failed.message);
  CHECK(stage.daemon.logs("engine: lost, "));
  CHECK(stage.daemon.logs(reason));
  CHECK(client.status().requests.empty());

  stage.engine.accept_and_greet();
  client.send(request(5, 20, 1));
  const uint64_t next = stage.engine.receive_as<link::Start>().request.id;
  CHECK(next > id);
  stage.engine.send_token(next, 0);
  stage.engine.finish(next, 1);
  CHECK(answer_of(client, 5).size() == 1);
  CHECK(client.status().engine_starts == 2);
  CHECK(stage.daemon.process().terminate() == 0);
}

// An engine whose `fault` comes before its hello: the request that waits for it fails as `unavailable`.
template <typename Fault>
void check_not_started(const std::string& reason, Fault fault) {
  Stage stage;
  stage.engine.accept();
  Client client = stage.daemon.client();
  client.send(request(5, 20, 1));
  CHECK(client.status().waiting == 1);
  fault(stage.engine);
  const auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.id == 5);
  CHECK(failed.code == FACET_UNAVAILABLE);
  CHECK_MESSAGE(failed.message.find(reason) != std::string::npos, failed.message);
  stage.engine.accept_and_greet();
  CHECK(comes_true([&] { return client.status().engine == "running"; }));
  CHECK(stage.daemon.process().terminate() == 0);
}

link::Bytes frame_of(const link::FromEngine& message) {
  link::Bytes bytes;
  REQUIRE(link::encode(message, bytes).ok());
  return bytes;
}

}  // namespace

TEST_CASE("engine faults: garbage bytes") {
  check_lost("segments, at most",
             [](ScriptedEngine& engine, uint64_t) { engine.send_bytes(link::Bytes(4096, std::byte{0xee})); });
}

TEST_CASE("engine faults: a message over the bound is refused by its head") {
  check_lost("bytes, at most", [](ScriptedEngine& engine, uint64_t) {
    const uint32_t head[2] = {0, 1 << 28};  // one segment of 2 GiB
    engine.send_bytes(std::as_bytes(std::span(head)));
  });
}

TEST_CASE("engine faults: a frame whose pointers lead nowhere") {
  check_lost("message does not decode", [](ScriptedEngine& engine, uint64_t) {
    auto frame = frame_of(link::Load{1, 2, 3, 4});
    for (size_t i = 8; i < 16; ++i) frame[i] = std::byte{0x7d};  // the root's
    engine.send_bytes(frame);
  });
}

TEST_CASE("engine faults: a message of an unknown kind") {
  check_lost("an engine's message of an unknown kind", [](ScriptedEngine& engine, uint64_t) {
    auto frame = frame_of(link::Load{1, 2, 3, 4});
    frame[16] = std::byte{0x63};  // the union's member, first in the root's data
    engine.send_bytes(frame);
  });
}

TEST_CASE("engine faults: text that is not UTF-8") {
  check_lost("UTF-8", [](ScriptedEngine& engine, uint64_t id) {
    auto frame = frame_of(protocol::Token{id, 2, 7, "zzzz", 0, {}});
    for (auto& byte : frame) {
      if (byte == std::byte{'z'}) byte = std::byte{0xff};
    }
    engine.send_bytes(frame);
  });
}

TEST_CASE("engine faults: words about a request that it does not have") {
  const auto unknown = [](const link::FromEngine& message) {
    check_lost("which it does not have", [&](ScriptedEngine& engine, uint64_t) { engine.send(message); });
  };
  SUBCASE("a token") {
    unknown(protocol::Token{4711, 0, 7, "x", 0, {}});
  }
  SUBCASE("a start") {
    unknown(link::Started{4711, 3});
  }
  SUBCASE("a finish") {
    unknown(protocol::Finish{4711, protocol::FinishReason::kStop, "", {}, {}});
  }
  SUBCASE("a failure") {
    unknown(protocol::Failed{4711, FACET_INTERNAL, "x"});
  }
  SUBCASE("a failure of nothing") {
    unknown(protocol::Failed{0, FACET_INTERNAL, "x"});
  }
}

TEST_CASE("engine faults: positions that nobody asked for") {
  check_lost("positions that nobody asked for", [](ScriptedEngine& engine, uint64_t id) {
    engine.send(link::Positions{{{id, 1, 0}}});
  });
  Stage stage;
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  client.send(request(5, 20, 9));
  const uint64_t id = stage.engine.receive_as<link::Start>().request.id;
  client.send(protocol::GetStatus{6});
  CHECK(stage.engine.receive_question() == std::vector<uint64_t>{id});
  stage.engine.send(link::Positions{{{id, 1, 0}, {4711, 1, 0}}});
  CHECK(stage.daemon.logs("the position of request 4711"));
  auto answer = client.receive();  // of the status and the request, in any order
  if (std::holds_alternative<protocol::Status>(answer)) answer = client.receive();
  REQUIRE(std::holds_alternative<protocol::Failed>(answer));
  CHECK(std::get<protocol::Failed>(answer).code == FACET_ENGINE_LOST);
}

TEST_CASE("engine faults: numbers of tokens out of order") {
  SUBCASE("one is left out") {
    check_lost("token 3 came where 2 was due",
               [](ScriptedEngine& engine, uint64_t id) { engine.send_token(id, 3); });
  }
  SUBCASE("one comes twice") {
    check_lost("token 1 came where 2 was due",
               [](ScriptedEngine& engine, uint64_t id) { engine.send_token(id, 1); });
  }
}

TEST_CASE("engine faults: more tokens than were granted") {
  check_lost("a token came that was not granted", [](ScriptedEngine& engine, uint64_t id) {
    engine.send_token(id, 2);
    engine.send_token(id, 3);
  });
}

TEST_CASE("engine faults: a second hello") {
  check_lost("its hello came twice", [](ScriptedEngine& engine, uint64_t) {
    engine.send(link::EngineHello{link::kVersion, "scripted", "none", "none"});
  });
}

TEST_CASE("engine faults: it goes in mid-answer") {
  SUBCASE("after a whole message") {
    check_lost("it ended", [](ScriptedEngine& engine, uint64_t) { engine.close(); });
  }
  SUBCASE("in the middle of one") {
    check_lost("it ended", [](ScriptedEngine& engine, uint64_t id) {
      const auto frame = frame_of(protocol::Token{id, 2, 7, "abc", 0, {}});
      engine.send_bytes(std::span(frame).first(frame.size() / 2));
      engine.close();
    });
  }
}

TEST_CASE("engine faults: before the hello") {
  SUBCASE("another version") {
    check_not_started("it speaks version 9 of the link", [](ScriptedEngine& engine) {
      engine.send(link::EngineHello{9, "", "", ""});
    });
  }
  SUBCASE("something else first") {
    check_not_started("its first message is no hello", [](ScriptedEngine& engine) {
      engine.send(link::Load{1, 2, 3, 4});
    });
  }
  SUBCASE("garbage") {
    check_not_started("segments, at most",
                      [](ScriptedEngine& engine) { engine.send_bytes(link::Bytes(64, std::byte{0xff})); });
  }
  SUBCASE("gone") {
    check_not_started("it ended", [](ScriptedEngine& engine) { engine.close(); });
  }
}

TEST_CASE("engine faults: a slow hello holds requests, which go on with it") {
  Stage stage;
  stage.engine.accept();
  Client client = stage.daemon.client();
  client.send(request(1, 20, 1));
  client.send(request(2, 30, 1));
  client.send(protocol::Cancel{2});
  CHECK(client.receive_as<protocol::Finish>().id == 2);  // it was nowhere yet
  CHECK(client.status().engine == "starting");
  stage.engine.send(link::EngineHello{link::kVersion, "scripted", "none", "none"});
  const uint64_t id = stage.engine.receive_as<link::Start>().request.id;
  stage.engine.send_token(id, 0);
  stage.engine.finish(id, 1);
  CHECK(answer_of(client, 1).size() == 1);
}

TEST_CASE("engine faults: no hello within the time that is allowed") {
  struct Losses : broker::EngineLink::Owner {
    void engine_ready() override { FAIL("no hello was said"); }
    void engine_said(link::FromEngine&&) override { FAIL("nothing was said"); }
    void engine_lost(const std::string& why, bool was_ready) override {
      CHECK(why == "it broke the protocol: no hello came in time");
      CHECK(!was_ready);
      if (++lost == 2) link->stop();
    }
    void engine_stopped() override { stopped = true; }
    broker::EngineLink* link = nullptr;
    int lost = 0;
    bool stopped = false;
  };
  Folder folder;
  const UniqueFd listening = listening_socket(folder / "engine");  // takes connections, says nothing
  broker::EngineLaunch launch;
  launch.socket = folder / "engine";
  launch.hello_timeout = 20'000;
  asio::io_context loop(1);
  Losses losses;
  broker::EngineLink link(loop, launch, losses);
  losses.link = &link;
  link.start();
  loop.run();
  CHECK(losses.lost == 2);
  CHECK(link.starts() == 2);
  CHECK(losses.stopped);
}

TEST_CASE("engine faults: engines that come to nothing are waited for longer and longer") {
  Stage stage;
  for (int i = 0; i < 4; ++i) {
    stage.engine.accept();
    stage.engine.close();
  }
  for (const char* wait : {"in 100 ms", "in 200 ms", "in 400 ms", "in 800 ms"}) {
    CHECK(stage.daemon.logs(std::string("the next start is ") + wait));
  }
  CHECK(stage.daemon.process().terminate() == 0);
}
