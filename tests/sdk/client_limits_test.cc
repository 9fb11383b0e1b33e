// The SDK where a daemon keeps deadlines or has too much to do.
#include <doctest/doctest.h>
#include <facet/client.hpp>

#include <chrono>
#include <cstdint>
#include <future>
#include <string>
#include <thread>

#include "tests/sdk/fake_daemon.h"

using namespace std::chrono_literals;
using facet::client::Client;
using facet::client::FinishReason;
using facet::test::FakeDaemon;
using facet::test::Peer;
namespace protocol = facet::protocol;

namespace {

Client connected(const FakeDaemon& daemon) {
  auto client = Client::connect({.socket = daemon.path(), .app = "test"});
  REQUIRE_MESSAGE(client.ok(), client.error().message);
  return *std::move(client);
}

}  // namespace

TEST_CASE("client: a deadline is passed on, and how it ends an answer comes back") {
  uint32_t asked = 0;
  {
    FakeDaemon daemon([&](Peer& peer) {
      peer.greet({protocol::kFeatureDeadline});
      auto request = peer.next_of<protocol::Generate>();
      if (!request) return;
      asked = request->deadline_ms;
      peer.send_tokens(request->id, 0, 2);
      peer.send_finish(request->id, 2, protocol::FinishReason::kDeadline);
      request = peer.next_of<protocol::Generate>();
      if (request) peer.send(protocol::Failed{request->id, FACET_DEADLINE, "deadline: too soon"});
    });
    Client client = connected(daemon);
    for (const auto deadline : {std::chrono::milliseconds(-1), std::chrono::milliseconds(24h) + 1ms,
                                std::chrono::milliseconds(INT64_MAX)}) {
      CHECK(client.generate({.prompt = "x", .deadline = deadline}).error().code == FACET_INVALID_ARGUMENT);
    }
    auto answer = client.generate({.prompt = "x", .deadline = 1500ms});
    REQUIRE(answer.ok());
    CHECK(answer->reason == FinishReason::deadline);
    CHECK(answer->text == "0 1 ");
    CHECK(std::string(facet::client::name_of(answer->reason)) == "deadline");
    auto refused = client.generate({.prompt = "x", .deadline = 24h});
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().code == FACET_DEADLINE);
  }
  CHECK(asked == 1500);
}

TEST_CASE("client: a daemon that keeps no deadlines is not asked to") {
  FakeDaemon daemon([](Peer& peer) {
    peer.greet();
    if (auto request = peer.next_of<protocol::Generate>()) peer.send_finish(request->id, 0);
  });
  Client client = connected(daemon);
  CHECK(client.generate({.prompt = "x", .deadline = 1s}).error().code == FACET_UNSUPPORTED);
  CHECK(client.generate({.prompt = "x", .max_tokens = 1}).ok());
}

TEST_CASE("client: a refusal says when a new try may succeed, if the daemon does") {
  FakeDaemon daemon([](Peer& peer) {
    peer.greet();
    for (uint32_t after : {1200u, 0u}) {
      if (auto request = peer.next_of<protocol::Generate>()) {
        peer.send(protocol::Failed{request->id, FACET_EXHAUSTED, "the queue is full", after});
      }
    }
  });
  Client client = connected(daemon);
  CHECK(client.generate({.prompt = "x"}).error().retry_after == 1200ms);
  CHECK(client.generate({.prompt = "x"}).error().retry_after == 0ms);
}

TEST_CASE("client: several choices come to one callback, each with its number") {
  FakeDaemon daemon([](Peer& peer) {
    peer.greet({protocol::kFeatureChoices}, {.choices = 8});
    for (int round = 0; round < 2; ++round) {
      auto request = peer.next_of<protocol::Generate>();
      if (!request || request->choices != 3) return;
      const auto id = request->id;
      peer.send_tokens(id + 1, 0, 2);
      peer.send_tokens(id, 0, 1);
      if (round == 0) {
        // The callback wants no more of the last one.
        peer.send_tokens(id + 2, 0, 1);
        const auto cancel = peer.next_of<protocol::Cancel>();
        if (!cancel || cancel->id != id + 2) return;
        peer.send_finish(id + 2, 1, protocol::FinishReason::kCancelled);
        peer.send_finish(id, 1, protocol::FinishReason::kStop, "end");
        peer.send_finish(id + 1, 2);
      } else {
        peer.send(protocol::Failed{id + 1, FACET_INTERNAL, "no luck"});
        for (const auto other : {id, id + 2}) {
          const auto cancel = peer.next_of<protocol::Cancel>();
          if (!cancel || cancel->id != other) return;
        }
      }
    }
    if (auto request = peer.next_of<protocol::Generate>()) peer.send_finish(request->id, 0);
  });
  Client client = connected(daemon);
  for (uint32_t choices : {0u, 9u}) {
    CHECK(client.generate_choices({.prompt = "x"}, choices).error().code == FACET_INVALID_ARGUMENT);
  }
  std::string texts[3];
  const auto answers = client.generate_choices({.prompt = "x"}, 3, [&](const facet::client::Token& token) {
    texts[token.choice] += token.text;
    return token.choice != 2;
  });
  REQUIRE(answers.ok());
  REQUIRE(answers->size() == 3);
  CHECK((*answers)[0].text == "0 end");
  CHECK((*answers)[1].text == "0 1 ");
  CHECK((*answers)[2].reason == FinishReason::cancelled);
  for (size_t n = 0; n < 3; ++n) CHECK(texts[n] == (*answers)[n].text);
  CHECK(client.generate_choices({.prompt = "x"}, 3).error().message == "no luck");
  CHECK(client.generate({.prompt = "x"}).ok());
}

TEST_CASE("client: an answer that ends twice does not stand for another") {
  FakeDaemon daemon([](Peer& peer) {
    peer.greet({protocol::kFeatureChoices}, {.choices = 8});
    auto request = peer.next_of<protocol::Generate>();
    if (!request) return;
    peer.send_finish(request->id, 0);
    peer.send_finish(request->id, 0);
    (void)peer.next_of<protocol::Cancel>();
  });
  Client client = connected(daemon);
  CHECK(client.generate_choices({.prompt = "x"}, 2).error().code == FACET_MALFORMED);
}

TEST_CASE("client: a daemon that sends more tokens than were asked for is not listened to") {
  FakeDaemon daemon([](Peer& peer) {
    peer.greet();
    for (const uint32_t sent : {3u, 4u}) {
      auto request = peer.next_of<protocol::Generate>();
      if (!request) return;
      peer.send_tokens(request->id, 0, sent);
      peer.send_finish(request->id, sent);
    }
    (void)peer.next_of<protocol::Cancel>();
  });
  Client client = connected(daemon);
  CHECK(client.generate({.prompt = "x", .max_tokens = 3})->text == "0 1 2 ");
  CHECK(client.generate({.prompt = "x", .max_tokens = 3}).error().code == FACET_MALFORMED);
}

TEST_CASE("client: who writes to a daemon that reads no more learns when the connection is given up") {
  std::promise<void> over;
  FakeDaemon daemon([&](Peer& peer) {
    peer.greet();
    auto request = peer.next_of<protocol::Generate>();
    if (!request) return;
    std::this_thread::sleep_for(100ms);  // the other thread's request fills the socket meanwhile
    peer.send(protocol::Failed{0, FACET_INTERNAL, "that was all"});
    over.get_future().wait();
  });
  Client client = connected(daemon);
  std::thread first([&] { CHECK_FALSE(client.generate({.prompt = "x"}).ok()); });
  std::this_thread::sleep_for(20ms);
  CHECK_FALSE(client.generate({.prompt = std::string(3 << 20, 'a')}).ok());
  first.join();
  over.set_value();
}

TEST_CASE("client: a daemon that gives one answer is not asked for several") {
  FakeDaemon daemon([](Peer& peer) {
    peer.greet();
    if (auto request = peer.next_of<protocol::Generate>()) peer.send_finish(request->id, 0);
  });
  Client client = connected(daemon);
  CHECK(client.generate_choices({.prompt = "x"}, 2).error().code == FACET_UNSUPPORTED);
  CHECK(client.generate_choices({.prompt = "x"}, 1)->size() == 1);
}
