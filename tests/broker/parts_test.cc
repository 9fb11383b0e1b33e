// The broker's parts that need no socket: flow, policy, back-off, models, names.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "daemon/broker/app_unit.h"
#include "daemon/broker/backoff.h"
#include "daemon/broker/flow.h"
#include "daemon/broker/models.h"
#include "daemon/broker/peer.h"
#include "daemon/broker/policy.h"
#include "daemon/broker/requests.h"
#include "daemon/broker/subordinate_uids.h"
#include "daemon/broker/user_keys.h"
#include "sdk/protocol/codec.h"
#include "sdk/protocol/utf8.h"

using namespace facet;
using namespace facet::broker;

namespace {

Peer user(uid_t uid, const std::string& sandbox = "") {
  return Peer{{uid, sandbox}};
}

}  // namespace

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
  CHECK(policy.admit_connection(user(1)).ok());
  CHECK(policy.admit_connection(user(1)).ok());
  CHECK(policy.admit_connection(user(1)).error().message == "too many connections of user 1 (limit 2)");
  CHECK(policy.admit_connection(user(2)).ok());
  CHECK(policy.admit_connection(user(3)).error().code == FACET_EXHAUSTED);
  policy.connection_ended(user(2));
  CHECK(policy.admit_connection(user(3)).ok());

  Holding a, b, c;
  CHECK(policy.admit_requests(user(1), a, 1, 10).ok());
  CHECK(policy.admit_requests(user(1), a, 1, 10).ok());
  CHECK(policy.admit_requests(user(1), a, 1, 10).error().message ==
        "too many open requests on this connection (limit 2)");
  CHECK(policy.admit_requests(user(1), b, 1, 101).error().code == FACET_EXHAUSTED);
  CHECK(policy.admit_requests(user(1), b, 1, 100).ok());
  CHECK(policy.admit_requests(user(1), b, 1, 0).error().message ==
        "too many open requests of user 1 (limit 3)");
  CHECK(policy.admit_requests(user(3), c, 1, 100).ok());  // another user's books
  CHECK(policy.recharge(user(1), a, 0, 31).error().code == FACET_EXHAUSTED);
  CHECK(policy.recharge(user(1), a, 0, 30).ok());
  CHECK(a.bytes == 50);
  CHECK(policy.recharge(user(1), a, 30, 0).ok());
  policy.request_ended(user(1), &b, 100);
  CHECK(b.requests == 0);
  CHECK(policy.admit_requests(user(1), b, 1, 100).ok());
  policy.request_ended(user(1), nullptr, 100);  // its connection has gone, and the user's books are in order
  Holding d;
  CHECK(policy.admit_requests(user(1), d, 1, 100).ok());
}

TEST_CASE("policy: a user's own grant, else that of the first listed group, else everybody's") {
  Grants grants;
  grants.everybody = {{{"standard", "background"}}, 1};
  grants.users[7] = {{{"background"}}, 0.5};
  grants.users[9] = {{{}}, 1};
  grants.groups = {{30, {{{"interactive"}}, 3}}, {20, {{{"standard"}}, 2}}};
  const Policy policy({}, grants);
  const auto peer = [](uid_t uid, gid_t gid, std::vector<gid_t> groups = {}) {
    return Peer{{uid}, gid, 1, std::move(groups)};
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

TEST_CASE("policy: a sandbox takes from its user's classes, and never gives") {
  Grants grants;
  grants.everybody = {{{"standard", "background"}}, 2};
  grants.users[9] = {{{}}, 1};
  grants.sandboxed = {{"interactive", "background"}};
  grants.sandboxes["snap:all"] = {{"interactive", "standard", "background"}};
  grants.sandboxes["snap:none"] = {{}};
  const auto classes = [](const Policy& policy, const Peer& peer) {
    std::string names;
    using enum protocol::Priority;
    for (const auto priority : {kInteractive, kStandard, kBackground}) {
      const auto grant = policy.grant_for(peer, priority);
      if (grant) CHECK(grant.value()->weight == 2);
      if (grant) names += protocol::name_of(priority)[0];
    }
    return names;
  };
  const Policy policy({}, grants);
  CHECK(classes(policy, user(1)) == "sb");
  CHECK(classes(policy, user(1, "snap:other")) == "b");
  CHECK(classes(policy, user(1, "snap:all")) == "sb");
  CHECK(classes(policy, user(1, "snap:none")) == "");
  CHECK(classes(policy, user(9, "snap:all")) == "");
  CHECK(policy.grant_for(user(1, "snap:none"), protocol::Priority::kStandard).error().message ==
        "user 1 in snap:none may not make requests of the class standard, nor of another");
  // An unknown one may be any of them.
  CHECK(classes(policy, user(1, "unknown")) == "");
  grants.sandboxes.erase("snap:none");
  CHECK(classes(Policy({}, grants), user(1, "unknown")) == "b");
  grants.sandboxes["unknown"] = {{"standard"}};
  CHECK(classes(Policy({}, grants), user(1, "unknown")) == "s");
  grants.sandboxed = {};
  grants.sandboxes.clear();
  CHECK(classes(Policy({}, grants), user(1, "unknown")) == "sb");
}

TEST_CASE("policy: quotas of a user and of its sandbox; each sandbox has its own, and all are the user's") {
  PolicyLimits limits;
  limits.user_connections = 2;
  Grants grants;
  grants.everybody.quota.requests = 3;
  grants.users[7].quota = {5, 0, 0};
  grants.sandboxed.quota = {1, 2, 100};
  grants.sandboxes["snap:big"].quota = {9, 9, 1000};
  grants.sandboxes["snap:small"].quota = {3, 1, 0};
  Policy policy(limits, grants);
  // A user's own quota may be more than [limits] says.
  for (int i = 0; i < 5; ++i) CHECK(policy.admit_connection(user(7)).ok());
  CHECK(policy.admit_connection(user(7)).error().message == "too many connections of user 7 (limit 5)");

  const Peer a = user(1, "snap:a"), b = user(1, "snap:b"), big = user(1, "snap:big"), outside = user(1);
  CHECK(policy.admit_connection(a).ok());
  CHECK(policy.admit_connection(a).error().message == "too many connections of user 1 in snap:a (limit 1)");
  CHECK(policy.admit_connection(b).ok());
  CHECK(policy.admit_connection(big).error().message == "too many connections of user 1 (limit 2)");
  policy.connection_ended(b);
  CHECK(policy.admit_connection(big).ok());

  Holding one, two, three;
  CHECK(policy.admit_requests(a, one, 2, 50).ok());
  CHECK(policy.admit_requests(a, one, 1, 0).error().message ==
        "too many open requests of user 1 in snap:a (limit 2)");
  CHECK(policy.recharge(a, one, 0, 1).error().message ==
        "too many bytes outstanding of user 1 in snap:a (limit 100)");
  CHECK(policy.admit_requests(b, two, 2, 0).error().message == "too many open requests of user 1 (limit 3)");
  CHECK(policy.admit_requests(b, two, 1, 100).ok());
  CHECK(policy.admit_requests(outside, three, 1, 0).error().code == FACET_EXHAUSTED);
  CHECK(policy.admit_requests(user(2, "snap:a"), three, 2, 50).ok());  // another user's
  policy.request_ended(a, &one, 50);
  CHECK(policy.admit_requests(outside, three, 1, 5000).ok());  // no quota of a sandbox
  CHECK(policy.admit_requests(a, one, 1, 0).error().message == "too many open requests of user 1 (limit 3)");
  policy.request_ended(outside, &three, 5000);
  CHECK(policy.admit_requests(a, one, 1, 50).ok());

  // An unknown one has the least of all.
  Holding four;
  CHECK(policy.admit_requests(user(3, "unknown"), four, 2, 0).error().message ==
        "too many open requests of user 3 in unknown (limit 1)");
  CHECK(policy.admit_requests(user(3, "unknown"), four, 1, 101).error().code == FACET_EXHAUSTED);
  CHECK(policy.admit_requests(user(3, "unknown"), four, 1, 100).ok());
}

TEST_CASE("user keys: one of a user and a secret, and another of another") {
  const UserKeys keys("secret");
  CHECK(keys.of({1000}) == 0xc0f129522cb11d9e);
  CHECK(keys.of({1001}) != keys.of({1000}));
  CHECK(UserKeys("other").of({1000}) != keys.of({1000}));
  CHECK(keys.of({1000, "snap:a"}) != keys.of({1000}));
  CHECK(keys.of({1000, "snap:a"}) != keys.of({1000, "snap:b"}));
  const UserKeys run, next;
  CHECK(run.of({1000}) == run.of({1000}));
  CHECK(run.of({1000}) != next.of({1000}));
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

TEST_CASE("subordinate uids: are their owner's, as the file says now") {
  char name[] = "/tmp/facet-subuid-XXXXXX";
  close(mkstemp(name));
  SubordinateUids uids(name);
  CHECK(uids.owner_of(100000) == 100000);
  std::ofstream(name) << "1000:100000:65536\nroot:165536:2\nnobody-of-that-name:200000:10\n"
                         "\n1001:300000\n1001:x:10\n1001:4294967290:100\n:400000:1";
  CHECK(uids.owner_of(99999) == 99999);
  CHECK(uids.owner_of(100000) == 1000);
  CHECK(uids.owner_of(165535) == 1000);
  CHECK(uids.owner_of(165536) == 0);
  CHECK(uids.owner_of(165538) == 165538);
  CHECK(uids.owner_of(200005) == 200005);
  CHECK(uids.owner_of(300000) == 300000);
  CHECK(uids.owner_of(4294967295) == 1001);
  CHECK(uids.owner_of(400000) == 400000);
  CHECK(uids.owner_of(4) == 4);
  std::filesystem::remove(name);
  CHECK(uids.owner_of(100000) == 100000);
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

TEST_CASE("requests: a peer sees its user's, in a sandbox those from there alone") {
  Requests requests;
  const auto add = [&](const Identity& who) {
    Request request;
    request.who = who;
    return requests.add(std::move(request));
  };
  const uid_t one = ::geteuid() + 1, other = ::geteuid() + 2;
  const EngineId outside = add({one}), a = add({one, "snap:a"}), b = add({one, "snap:b"}),
                 far = add({other, "snap:a"});
  using Ids = std::vector<EngineId>;
  CHECK(requests.seen_by({one}) == Ids{outside, a, b});
  CHECK(requests.seen_by({one, "snap:a"}) == Ids{a});
  CHECK(requests.seen_by({one, "unknown"}).empty());
  CHECK(requests.seen_by({other}) == Ids{far});
  for (const uid_t all : {uid_t{0}, ::geteuid()}) {
    CHECK(requests.seen_by({all}) == Ids{outside, a, b, far});
    CHECK(requests.seen_by({all, "snap:a"}).empty());
  }
}

TEST_CASE("peer: an app's name is one line") {
  Peer peer;
  peer.pid = 12;
  CHECK(app_name("", peer) == "pid 12");
  CHECK(app_name("a\nb\x7f", peer) == "a?b?");
  peer.app = "org.example\n";
  CHECK(app_name("a", peer) == "org.example?");
}

TEST_CASE("peer: whatever bytes its unit has, the protocol takes the app's name") {
  const std::string units[] = {"app-a\xffz-1.scope", "app-a\\xffz-1.scope",
                               "app-" + std::string(243, '\xff') + "-1.scope"};
  for (const std::string& unit : units) {
    Peer peer;
    peer.app = app_of_cgroup("0::/user@1.service/" + unit + "\n");
    CHECK(peer.app.find('\xff') != std::string::npos);
    protocol::Status status;
    status.requests.emplace_back().app = app_name("", peer);
    CHECK(protocol::is_utf8(status.requests[0].app));
    protocol::Bytes frame;
    const auto written = protocol::encode(protocol::ServerMessage{status}, frame);
    CHECK_MESSAGE(written.ok(), written.error().message);
  }
}

TEST_CASE("peer: its unit names the app, where there is one") {
  const std::string user = "/user.slice/user-1000.slice/";
  const std::string manager = "0::" + user + "user@1000.service/";
  const std::map<std::string, std::string> apps = {
      {manager + "app.slice/app-gnome-org.example.Notes-1234.scope\n", "org.example.Notes"},
      {manager + "app.slice/app-org.example.Notes-1234.scope\n", "org.example.Notes"},
      {manager + "app.slice/app-gnome-my\\x2dnotes-12.scope\n", "my-notes"},
      {manager + "app.slice/app-kde-notes@5f.service\n", "notes"},
      {manager + "app.slice/notes.service\n", "notes"},
      {manager + "app.slice/notes.service/app-gnome-other-1.scope\n", "other"},
      {"4:cpu:/a/b\n1:name=systemd:" + manager.substr(3) + "app.slice/notes.service\n", "notes"},
      {manager + "app.slice/app-org.example.Terminal.slice/vte-spawn-1-2.scope\n", ""},
      {manager + "init.scope\n", ""},
      {manager + "app.slice/app-.scope\n", ""},
      {manager + "app.slice/.service\n", ""},
      {manager + "app.slice/app-my\\x2-12.scope\n", ""},
      {"0::" + user + "session-3.scope\n", ""},
      {"0::/system.slice/cron.service\n", ""},
      {"0::/\n", ""},
      {"0::", ""},
      {"", ""},
  };
  for (const auto& [cgroup, app] : apps) {
    CAPTURE(cgroup);
    CHECK(app_of_cgroup(cgroup) == app);
  }
}
