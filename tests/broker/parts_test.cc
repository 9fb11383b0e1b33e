// The broker's parts that need no socket: flow, policy, back-off, models, names.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "daemon/broker/backoff.h"
#include "daemon/broker/flow.h"
#include "daemon/broker/models.h"
#include "daemon/broker/peer.h"
#include "daemon/broker/policy.h"
#include "daemon/broker/user_keys.h"

using namespace facet;
using namespace facet::broker;

TEST_CASE("flow: without bound the engine gets a window, and more in halves of it") {
  Flow flow(0);
  CHECK(flow.grant() == Flow::kWindow);
  CHECK(flow.grant() == 0);
  for (uint32_t i = 0; i < Flow::kWindow / 2 - 1; ++i) CHECK(flow.take());
  CHECK(flow.grant() == 0);
  CHECK(flow.take());
  CHECK(flow.grant() == Flow::kWindow / 2);
}

TEST_CASE("flow: a client's credit is passed on at once and never exceeded") {
  Flow flow(2);
  CHECK(flow.grant() == 2);
  CHECK(flow.take());
  CHECK(flow.take());
  CHECK(!Flow(flow).take());
  flow.allow(1);
  CHECK(flow.grant() == 1);
  CHECK(flow.take());
  CHECK(!flow.take());
}

TEST_CASE("policy: limits of a connection and of its user hold, and what ends is given back") {
  PolicyLimits limits;
  limits.connections = 3;
  limits.user_connections = 2;
  limits.open_requests = 2;
  limits.user_requests = 3;
  limits.connection_bytes = 100;
  limits.user_bytes = 150;
  Policy policy(limits);
  CHECK(policy.admit_connection(1).ok());
  CHECK(policy.admit_connection(1).ok());
  CHECK(policy.admit_connection(1).error().message == "too many connections of user 1 (limit 2)");
  CHECK(policy.admit_connection(2).ok());
  CHECK(policy.admit_connection(3).error().code == FACET_EXHAUSTED);
  policy.connection_ended(2);
  CHECK(policy.admit_connection(3).ok());

  Holding a, b, c;
  CHECK(policy.admit_requests(1, a, 1, 10).ok());
  CHECK(policy.admit_requests(1, a, 1, 10).ok());
  CHECK(policy.admit_requests(1, a, 1, 10).error().message ==
        "too many open requests on this connection (limit 2)");
  CHECK(policy.admit_requests(1, b, 1, 101).error().code == FACET_EXHAUSTED);
  CHECK(policy.admit_requests(1, b, 1, 100).ok());
  CHECK(policy.admit_requests(1, b, 1, 0).error().message == "too many open requests of user 1 (limit 3)");
  CHECK(policy.admit_requests(3, c, 1, 100).ok());  // another user's books
  CHECK(policy.recharge(1, a, 0, 31).error().code == FACET_EXHAUSTED);
  CHECK(policy.recharge(1, a, 0, 30).ok());
  CHECK(a.bytes == 50);
  CHECK(policy.recharge(1, a, 30, 0).ok());
  policy.request_ended(1, &b, 100);
  CHECK(b.requests == 0);
  CHECK(policy.admit_requests(1, b, 1, 100).ok());
  policy.request_ended(1, nullptr, 100);  // its connection has gone, and the user's books are in order
  Holding d;
  CHECK(policy.admit_requests(1, d, 1, 100).ok());
}

TEST_CASE("policy: a user's own grant, else that of the first listed group, else everybody's") {
  Grants grants;
  grants.everybody = {{"standard", "background"}, 1};
  grants.users[7] = {{"background"}, 0.5};
  grants.users[9] = {{}, 1};
  grants.groups = {{30, {{"interactive"}, 3}}, {20, {{"standard"}, 2}}};
  const Policy policy({}, grants);
  const auto peer = [](uid_t uid, gid_t gid, std::vector<gid_t> groups = {}) {
    return Peer{uid, gid, 1, std::move(groups)};
  };
  const auto weight = [&](const Peer& peer, protocol::Priority priority) {
    const auto grant = policy.grant_for(peer, priority);
    return grant ? grant.value()->weight : -static_cast<double>(grant.error().code);
  };
  using enum protocol::Priority;
  const double denied = -static_cast<double>(FACET_DENIED);
  CHECK(weight(peer(1, 1), kStandard) == 1);
  CHECK(weight(peer(1, 1), kBackground) == 1);
  CHECK(weight(peer(1, 1), kInteractive) == denied);
  CHECK(weight(peer(7, 30, {20}), kBackground) == 0.5);
  CHECK(weight(peer(7, 30, {20}), kInteractive) == denied);
  CHECK(weight(peer(1, 20), kStandard) == 2);
  CHECK(weight(peer(1, 1, {5, 20}), kStandard) == 2);
  CHECK(weight(peer(1, 20, {30}), kInteractive) == 3);  // the first of the list, not of the peer
  CHECK(weight(peer(1, 20, {30}), kStandard) == denied);
  CHECK(weight(peer(9, 20), kStandard) == denied);

  CHECK(policy.grant_for(peer(1, 1), kInteractive).error().message ==
        "user 1 may not make requests of the class interactive, only standard, background");
  CHECK(policy.grant_for(peer(9, 1), kBackground).error().message ==
        "user 9 may not make requests of the class background, nor of another");
  CHECK(Policy({}).grant_for(peer(0, 0), kInteractive).value()->weight == 1);
}

TEST_CASE("user keys: one of a user and a secret, and another of another") {
  const UserKeys keys("secret");
  CHECK(keys.of(1000) == 0xc0f129522cb11d9e);
  CHECK(keys.of(1001) != keys.of(1000));
  CHECK(UserKeys("other").of(1000) != keys.of(1000));
  const UserKeys run, next;
  CHECK(run.of(1000) == run.of(1000));
  CHECK(run.of(1000) != next.of(1000));
}

TEST_CASE("back-off: doubles up to its most, and begins again after an engine that held") {
  Backoff backoff;
  CHECK(backoff.next(0) == 100'000);
  CHECK(backoff.next(0) == 200'000);
  CHECK(backoff.next(5'000'000) == 400'000);
  for (int i = 0; i < 20; ++i) (void)backoff.next(0);
  CHECK(backoff.next(0) == Backoff::kMost);
  CHECK(backoff.next(Backoff::kHeld) == Backoff::kFirst);
}

TEST_CASE("models: named, given and found ones; what is not there is named with what is") {
  char name[] = "/tmp/facet-models-XXXXXX";
  const std::string folder = mkdtemp(name);
  ModelSources sources;
  sources.named = {{"zed", "/m/zed.gguf"}};
  sources.paths = {"/m/given.gguf", "/m/other.gguf"};
  sources.folder = folder;
  Models models(sources);
  CHECK(models.find("").value().name == "given");
  CHECK(models.find("other").value().path == "/m/other.gguf");
  CHECK(models.find("late").error().message == "there is no model 'late'; there is: given, other, zed");
  std::ofstream(folder + "/late.gguf") << "four";
  std::ofstream(folder + "/no_model.txt") << "x";
  CHECK(models.find("late").value().path == folder + "/late.gguf");
  CHECK(models.list().size() == 4);

  protocol::Model loaded;
  loaded.name = "late";
  loaded.state = protocol::ModelState::kLoaded;
  models.changed(loaded);
  loaded.name = "invented";
  models.changed(loaded);
  CHECK(models.list().size() == 4);
  CHECK(models.list()[1].state == protocol::ModelState::kLoaded);
  CHECK(models.list()[1].file_bytes == 4);
  models.forget_states();
  CHECK(models.list()[1].state == protocol::ModelState::kUnloaded);
  std::filesystem::remove(folder + "/late.gguf");
  CHECK(models.find("late").error().code == FACET_NOT_FOUND);
  std::filesystem::remove_all(folder);
  CHECK(Models({}).find("").error().code == FACET_NOT_FOUND);
}

TEST_CASE("models: one that is split in parts is offered once, under the name that the parts share") {
  char name[] = "/tmp/facet-models-XXXXXX";
  const std::string folder = mkdtemp(name);
  for (const char* file : {"/big-00001-of-00003.gguf", "/big-00002-of-00003.gguf", "/big-00003-of-00003.gguf",
                           "/headless-00002-of-00002.gguf", "/plain-00001-of-3.gguf"}) {
    std::ofstream(folder + file) << "four";
  }
  ModelSources sources;
  sources.folder = folder;
  sources.paths = {"/m/given-00001-of-00002.gguf"};
  Models models(sources);
  const auto all = models.list();
  REQUIRE(all.size() == 3);
  CHECK(all[0].name == "big");
  CHECK(all[0].file_bytes == 12);
  CHECK(all[1].name == "given");
  CHECK(all[2].name == "plain-00001-of-3");
  CHECK(models.find("big").value().path == folder + "/big-00001-of-00003.gguf");
  CHECK(models.find("headless").error().code == FACET_NOT_FOUND);
  CHECK(models.find("").value().name == "given");
  std::filesystem::remove_all(folder);
}

TEST_CASE("peer: an app's name is one line") {
  Peer peer;
  peer.pid = 12;
  CHECK(app_name("", peer) == "pid 12");
  CHECK(app_name("a\nb\x7f", peer) == "a?b?");
}
