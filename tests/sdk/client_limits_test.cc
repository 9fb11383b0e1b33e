// The SDK where a daemon keeps deadlines or has too much to do.
#include <doctest/doctest.h>
#include <facet/client.hpp>

#include <chrono>
#include <cstdint>
#include <string>

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
