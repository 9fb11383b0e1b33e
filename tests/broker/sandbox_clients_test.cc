// Clients in sandboxes, which are real processes with a root of their own; the engine is scripted.
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/broker/sandbox_traces.h"
#include "tests/broker/boxed.h"
#include "tests/broker/scripted_engine.h"

using namespace facet;
using namespace facet::test;
using broker::sandbox_of, broker::traces_of;

namespace {

constexpr const char* kExample = "[Application]\nname=org.example.App\n";

UniqueFd accept_one(const UniqueFd& listening) {
  pollfd waits = {listening.get(), POLLIN, 0};
  REQUIRE_MESSAGE(::poll(&waits, 1, 60'000) == 1, "nobody connects");
  return UniqueFd(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
}

// Of a process that has this folder as its root.
std::string sandbox_of_boxed(const Folder& root, bool own_pids = false) {
  const UniqueFd listening = listening_socket(root / "s");
  const Boxed boxed(root / "", own_pids, [] {
    Client client;
    return client.connect("/s") ? ::pause() : 1;
  });
  const UniqueFd accepted = accept_one(listening);
  ucred who = {};
  socklen_t size = sizeof who;
  REQUIRE(::getsockopt(accepted.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) == 0);
  return sandbox_of(traces_of(accepted.get(), who.pid));
}
// With this file there if it is not empty.
std::string sandbox_of_boxed(const std::string& info, bool own_pids = false) {
  const Folder root;
  if (!info.empty()) std::ofstream(root / ".flatpak-info") << info;
  return sandbox_of_boxed(root, own_pids);
}

// facetd with that policy, and the root in which its socket is "/s".
struct BoxedStage {
  explicit BoxedStage(const std::string& policy, std::vector<std::string> arguments = {}) {
    std::ofstream(folder / "facetd.toml") << policy;
    arguments.insert(arguments.end(), {"--config", folder / "facetd.toml"});
    stage = std::make_unique<Stage>(arguments);
    root = std::filesystem::path(stage->daemon.socket()).parent_path();
  }
  void be(const std::string& info) const { std::ofstream(root + "/.flatpak-info") << info; }

  Folder folder;
  std::unique_ptr<Stage> stage;
  std::string root;
};

Client connected(const std::string& app) {
  Client client;
  REQUIRE(client.connect("/s"));
  client.greet(app);
  return client;
}

protocol::Generate of_class(uint64_t id, protocol::Priority priority) {
  auto one = request(id, 20, 1);
  one.priority = priority;
  return one;
}

void finish_one(Stage& stage, uint64_t id) {
  stage.engine.send_token(id, 0);
  stage.engine.finish(id, 1);
}

}  // namespace

TEST_CASE("sandboxes: of real processes") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  const UniqueFd ours(ends[0]), theirs(ends[1]);
  CHECK(sandbox_of(traces_of(ours.get(), ::getpid())) == "");
  CHECK(sandbox_of_boxed("") == "");
  CHECK(sandbox_of_boxed(kExample) == "flatpak:org.example.App");
  CHECK(sandbox_of_boxed(kExample, true) == "flatpak:org.example.App");
  CHECK(sandbox_of_boxed("[Application]\nname=bad\n") == "unknown");
  CHECK(sandbox_of_boxed(std::string(broker::kMaxTraceBytes + 1, '\n')) == "unknown");
  CHECK(sandbox_of_boxed("", true) == "unknown");
}

TEST_CASE("sandboxes: a file in a root that is no plain file names nothing") {
  for (const int kind : {0, 1, 2}) {
    const Folder root;
    const std::string place = root / ".flatpak-info";
    if (kind == 0) REQUIRE(::mkfifo(place.c_str(), 0600) == 0);
    if (kind == 1) REQUIRE(::symlink("/s", place.c_str()) == 0);
    if (kind == 2) REQUIRE(::mkdir(place.c_str(), 0700) == 0);
    CHECK(sandbox_of_boxed(root) == "unknown");
  }
}

TEST_CASE("sandboxes: a process that has ended cannot be told to be in none") {
  const Folder folder;
  const UniqueFd listening = listening_socket(folder / "s");
  const pid_t child = ::fork();
  if (child == 0) {
    Client client;
    ::_exit(client.connect(folder / "s") ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  const UniqueFd accepted = accept_one(listening);
  CHECK(sandbox_of(traces_of(accepted.get(), child)) == "unknown");
  CHECK(sandbox_of(traces_of(accepted.get(), 0)) == "unknown");
}

TEST_CASE("sandboxes: take classes from what the user may, divide its share by their name, and read apart") {
  using enum protocol::Priority;
  const std::string uid = std::to_string(::getuid());
  const BoxedStage boxes("[policy.user." + uid + "]\nclasses = ['standard', 'background']\nweight = 2.5\n" +
                         "[policy.sandbox]\nclasses = ['interactive', 'background']\n");
  Stage& stage = *boxes.stage;
  stage.engine.accept_and_greet();
  Client outside = stage.daemon.client("outside");
  outside.send(of_class(1, kStandard));
  const auto first = stage.engine.receive_as<link::Start>();
  CHECK(first.app == "outside");
  CHECK(first.weight == 2.5);
  CHECK(first.reader == first.user);

  boxes.be(kExample);
  Boxed inside(boxes.root, true, [&] {
    Client client = connected("forged");
    for (const auto priority : {kInteractive, kStandard}) {
      client.send(of_class(1, priority));
      const auto failed = client.receive_as<protocol::Failed>();
      const std::string wanted = protocol::name_of(priority);
      if (failed.code != FACET_DENIED) return 1;
      if (failed.message != "user " + uid +
                                " in flatpak:org.example.App may not make requests of the class " + wanted +
                                ", only background") {
        return 2;
      }
    }
    client.send(of_class(2, kBackground));
    // It sees what comes from its sandbox, and nothing else of its user.
    const auto status = client.status();
    if (status.requests.size() != 1) return 3;
    if (status.requests[0].sandbox != "flatpak:org.example.App" || status.requests[0].app != "forged")
      return 4;
    return answer_of(client, 2).size() == 1 ? 0 : 5;
  });
  const auto second = stage.engine.receive_as<link::Start>();
  CHECK(second.app == "flatpak:org.example.App");
  CHECK(second.weight == 2.5);
  CHECK(second.user == first.user);
  CHECK(second.reader != first.reader);
  CHECK(stage.engine.receive_question() == std::vector{second.request.id});
  stage.engine.send(link::Positions());
  // Who is outside sees both.
  outside.send(protocol::GetStatus{9});
  CHECK(stage.engine.receive_question() == std::vector{first.request.id, second.request.id});
  stage.engine.send(link::Positions());
  const auto status = outside.receive_as<protocol::Status>();
  REQUIRE(status.requests.size() == 2);
  CHECK(status.requests[0].sandbox.empty());
  CHECK(status.requests[1].sandbox == "flatpak:org.example.App");
  CHECK(status.requests[1].app == "forged");
  finish_one(stage, second.request.id);
  CHECK(inside.wait() == 0);
}

TEST_CASE("sandboxes: quotas within those of the user") {
  const BoxedStage boxes(
      "[policy.sandbox]\nrequests = 2\n"
      "[policy.sandbox.'flatpak:org.example.App']\nconnections = 1\n",
      {"--user-requests", "3"});
  Stage& stage = *boxes.stage;
  stage.engine.accept_and_greet();
  boxes.be(kExample);
  Boxed inside(boxes.root, false, [] {
    Client client = connected("one");
    Client other;
    if (!other.connect("/s") || other.receive_as<protocol::Failed>().code != FACET_EXHAUSTED) return 1;
    for (uint64_t id = 1; id <= 3; ++id) client.send(request(id, 20, 1));
    const auto failed = client.receive_as<protocol::Failed>();
    if (failed.id != 3 || failed.message.find("in flatpak:org.example.App (limit 2)") == failed.message.npos)
      return 2;
    return ::pause();
  });
  for (int i = 0; i < 2; ++i) (void)stage.engine.receive_as<link::Start>();
  // What the sandbox holds, its user holds.
  Client outside = stage.daemon.client();
  REQUIRE(comes_true([&] { return outside.status().requests.size() == 2; }));
  outside.send(request(1, 20, 1));
  outside.send(request(2, 20, 1));
  CHECK(outside.receive_as<protocol::Failed>().message ==
        "too many open requests of user " + std::to_string(::getuid()) + " (limit 3)");
  finish_one(stage, stage.engine.receive_as<link::Start>().request.id);
  CHECK(answer_of(outside, 1).size() == 1);
}

TEST_CASE("sandboxes: an unknown one has what every entry leaves; it is said once") {
  using enum protocol::Priority;
  const BoxedStage boxes(
      "[policy.sandbox.'flatpak:org.a.A']\nclasses = ['interactive', 'standard']\n"
      "[policy.sandbox.'snap:b']\nclasses = ['standard', 'background']\n");
  Stage& stage = *boxes.stage;
  stage.engine.accept_and_greet();
  for (int i = 0; i < 2; ++i) {
    Boxed inside(boxes.root, true, [] {
      Client client = connected("container");
      for (const auto priority : {kInteractive, kBackground}) {
        client.send(of_class(1, priority));
        if (client.receive_as<protocol::Failed>().code != FACET_DENIED) return 1;
      }
      client.send(of_class(1, kStandard));
      return answer_of(client, 1).size() == 1 ? 0 : 2;
    });
    const auto start = stage.engine.receive_as<link::Start>();
    CHECK(start.app == "unknown");
    finish_one(stage, start.request.id);
    CHECK(inside.wait() == 0);
  }
  const std::string log = stage.daemon.log();
  const size_t said = log.find("[policy.sandbox.unknown]");
  CHECK(said != log.npos);
  CHECK(log.find("[policy.sandbox.unknown]", said + 1) == log.npos);
}
