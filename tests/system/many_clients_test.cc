// The real facetd with the real facet-engine, the reference backend and a tiny model.
#include "tests/system/process.h"
#include "tests/test_models.h"

using namespace facet;
using namespace facet::test;

namespace {

Daemon start_daemon() {
  return Daemon({"--model", tiny_model_path("gemma3"), "--backend", "reference"});
}

}  // namespace

TEST_CASE("system: many clients at once get what each gets alone") {
  Daemon daemon = start_daemon();
  constexpr int kClients = 64;
  std::vector<std::vector<uint32_t>> alone;
  Client one = daemon.client();
  for (int i = 0; i < kClients; ++i) {
    one.send(request(1, 20 + i, 12));
    alone.push_back(answer_of(one, 1));
    CHECK(alone.back().size() == 12);
  }
  std::vector<Client> clients;
  for (int i = 0; i < kClients; ++i) clients.push_back(daemon.client("app " + std::to_string(i)));
  for (int i = 0; i < kClients; ++i) clients[i].send(request(i + 1, 20 + i, 12));
  for (int i = 0; i < kClients; ++i) CHECK(answer_of(clients[i], i + 1) == alone[i]);
  CHECK(daemon.process().terminate() == 0);
  CHECK(::access(daemon.socket().c_str(), F_OK) != 0);
}

TEST_CASE("system: a client that goes in mid-answer gives its pages back") {
  Daemon daemon = start_daemon();
  Client watcher = daemon.client();
  watcher.send(request(1, 30, 4));
  answer_of(watcher, 1);
  REQUIRE(comes_true([&] {
    auto status = watcher.status();
    return status.cache_pages > 0 && status.cache_pages == status.cache_pages_free;
  }));
  Client goes = daemon.client();
  auto endless = request(1, 40, 0);
  endless.credit = 3;
  goes.send(endless);
  for (int i = 0; i < 3; ++i) CHECK(goes.receive_as<protocol::Token>().sequence == static_cast<uint32_t>(i));
  CHECK(comes_true([&] {
    auto status = watcher.status();
    return status.cache_pages_free < status.cache_pages;
  }));
  CHECK(watcher.status().requests.size() == 1);
  goes.close();
  CHECK(comes_true([&] {
    auto status = watcher.status();
    return status.requests.empty() && status.cache_pages_free == status.cache_pages;
  }));
}

TEST_CASE("system: credit pauses a sequence, cancel ends it") {
  Daemon daemon = start_daemon();
  Client client = daemon.client();
  auto paused = request(1, 50, 0);
  paused.credit = 2;
  client.send(paused);
  client.receive_as<protocol::Token>();
  client.receive_as<protocol::Token>();
  client.send(request(2, 60, 5));  // goes on beside the paused one
  CHECK(answer_of(client, 2).size() == 5);
  client.send(protocol::Credit{1, 1});
  CHECK(client.receive_as<protocol::Token>().sequence == 2);
  client.send(protocol::Cancel{1});
  const auto finish = client.receive_as<protocol::Finish>();
  CHECK(finish.reason == protocol::FinishReason::kCancelled);
  CHECK(finish.usage.generated_tokens == 3);
}

TEST_CASE("system: a killed engine fails its requests and is started again") {
  Daemon daemon = start_daemon();
  Client client = daemon.client();
  auto paused = request(1, 50, 0);
  paused.credit = 1;
  client.send(paused);
  client.receive_as<protocol::Token>();
  const pid_t engine = daemon.engine();
  REQUIRE(engine > 0);
  ::kill(engine, SIGKILL);
  const auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.id == 1);
  CHECK(failed.code == FACET_ENGINE_LOST);
  client.send(request(1, 50, 3));  // waits for the next engine
  CHECK(answer_of(client, 1).size() == 3);
  CHECK(client.status().engine_starts == 2);
  const pid_t second = daemon.engine();
  daemon.process().kill();
  CHECK(comes_true([&] { return ::kill(second, 0) != 0; }));  // no orphan
}

TEST_CASE("system: what breaks the protocol is refused by name") {
  Daemon daemon = start_daemon();
  Client old;
  REQUIRE(old.connect(daemon.socket()));
  old.send(protocol::ClientHello{7, 9, "future"});
  CHECK(old.receive_as<protocol::Failed>().code == FACET_VERSION_MISMATCH);

  Client garbage = daemon.client();
  garbage.send_bytes(protocol::Bytes(64, std::byte{0xff}));
  const auto failed = garbage.receive_as<protocol::Failed>();
  CHECK(failed.id == 0);
  CHECK(failed.code == FACET_TOO_LARGE);

  Client rude;
  REQUIRE(rude.connect(daemon.socket()));
  rude.send(protocol::GetStatus{1});
  CHECK(rude.receive_as<protocol::Failed>().code == FACET_MALFORMED);

  Client client = daemon.client();
  auto unknown = request(5, 20, 1);
  unknown.model = "nobody";
  client.send(unknown);
  const auto missing = client.receive_as<protocol::Failed>();
  CHECK(missing.id == 5);
  CHECK(missing.code == FACET_NOT_FOUND);
  CHECK(missing.message == "there is no model 'nobody'; there is: gemma3");
  client.send(request(0, 20, 1));
  CHECK(client.receive_as<protocol::Failed>().code == FACET_INVALID_ARGUMENT);
}
