// facetd and facet-engine as systemd runs them: each takes a socket that was made for it.
#include "daemon/link/codec.h"
#include "tests/system/process.h"
#include "tests/test_models.h"

using namespace facet;
using namespace facet::test;

namespace {

// systemd's part for the engine: holds its socket and starts it.
class EngineUnit {
 public:
  EngineUnit() : listening_(listening_socket(socket())) {}

  std::string socket() const { return folder_ / "engine"; }
  Process start() const { return Process({"facet-engine"}, listening_.get()); }

 private:
  Folder folder_;
  UniqueFd listening_;
};

Daemon daemon_with(const EngineUnit& unit) {
  return Daemon({"--engine-socket", unit.socket(), "--model", tiny_model_path("gemma3"), "--backend",
                 "reference", "--cache", "f32"});
}

// The broker's end of a link whose other end an engine was given.
class Link {
 public:
  Link() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    ours_.open(UniqueFd(ends[0]));
    const UniqueFd theirs(ends[1]);
    engine = Process({"facet-engine", "--log-level", "error"}, theirs.get());
  }

  void send(const link::ToEngine& message) {
    link::Bytes bytes;
    REQUIRE(link::encode(message, bytes).ok());
    ours_.send(bytes);
  }
  // Nothing at the link's end.
  std::optional<link::FromEngine> receive() {
    const auto frame = ours_.receive();
    if (frame.empty()) return {};
    return link::decode_from_engine(frame).value();
  }
  void close() { ours_.close(); }

  Process engine;

 private:
  FrameSocket ours_{link::kMaxMessageBytes};
};

const link::BrokerHello kHello{link::kVersion, {"backend=reference", "threads=1"}};

}  // namespace

TEST_CASE("activation: facetd meets an engine at its socket, and another after that one was killed") {
  EngineUnit unit;
  Process first = unit.start();
  Daemon daemon = daemon_with(unit);
  Client client = daemon.client();
  client.send(request(1, 20, 6));
  const auto ids = answer_of(client, 1);
  CHECK(ids.size() == 6);
  CHECK(client.status().backend == "reference");  // the settings are facetd's

  auto paused = request(1, 50, 0);
  paused.credit = 1;
  client.send(paused);
  client.receive_as<protocol::Token>();
  first.kill();
  const auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.id == 1);
  CHECK(failed.code == FACET_ENGINE_LOST);

  client.send(request(1, 20, 6));  // waits for the next engine
  Process second = unit.start();
  CHECK(answer_of(client, 1) == ids);
  CHECK(client.status().engine_starts == 2);
  CHECK(daemon.process().terminate() == 0);
  CHECK(second.wait() == 0);  // it ends with its broker
}

TEST_CASE("activation: an engine serves one broker; the next broker gets the next engine") {
  EngineUnit unit;
  Process first = unit.start();
  Daemon one = daemon_with(unit);
  Client of_one = one.client();
  of_one.send(request(1, 20, 3));
  CHECK(answer_of(of_one, 1).size() == 3);
  Daemon other = daemon_with(unit);
  Client of_other = other.client();
  CHECK(of_other.status().engine == "starting");  // connected, and not answered
  of_one.send(request(1, 20, 3));
  CHECK(answer_of(of_one, 1).size() == 3);
  CHECK(one.process().terminate() == 0);
  CHECK(first.wait() == 0);
  Process second = unit.start();
  of_other.send(request(1, 20, 3));
  CHECK(answer_of(of_other, 1).size() == 3);
}

TEST_CASE("activation: where no engine is, requests fail, and facetd goes on trying") {
  Folder folder;
  const std::string path = folder / "engine";
  Daemon daemon({"--engine-socket", path, "--model", tiny_model_path("gemma3"), "--backend", "reference"});
  Client client = daemon.client();
  client.send(request(1, 20, 3));
  const auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.code == FACET_UNAVAILABLE);
  CHECK(failed.message.find("cannot connect to " + path) != std::string::npos);
  const UniqueFd listening = listening_socket(path);
  Process engine({"facet-engine"}, listening.get());
  CHECK(comes_true([&] { return client.status().engine == "running"; }));
  client.send(request(1, 20, 3));
  CHECK(answer_of(client, 1).size() == 3);
}

TEST_CASE("activation: an engine takes a connection, too") {
  Link link;
  link.send(kHello);
  const auto hello = link.receive();
  REQUIRE(hello);
  CHECK(std::get<link::EngineHello>(*hello).backend == "reference");
  link.close();
  CHECK(link.engine.wait() == 0);
}

TEST_CASE("activation: an engine ends with an error where the broker is wrong") {
  SUBCASE("another version, which is told ours") {
    Link link;
    link.send(link::BrokerHello{link::kVersion + 1, {}});
    const auto hello = link.receive();
    REQUIRE(hello);
    CHECK(std::get<link::EngineHello>(*hello).version == link::kVersion);
    CHECK(!link.receive());
    CHECK(link.engine.wait() == 1);
  }
  SUBCASE("settings that it does not know") {
    Link link;
    link.send(link::BrokerHello{link::kVersion, {"speed=9"}});
    CHECK(!link.receive());
    CHECK(link.engine.wait() == 1);
  }
  SUBCASE("no hello first") {
    Link link;
    link.send(link::Cancel{1});
    CHECK(!link.receive());
    CHECK(link.engine.wait() == 1);
  }
  SUBCASE("a second hello") {
    Link link;
    link.send(kHello);
    CHECK(link.receive());
    link.send(kHello);
    CHECK(!link.receive());
    CHECK(link.engine.wait() == 1);
  }
  SUBCASE("gone before its hello") {
    Link link;
    link.close();
    CHECK(link.engine.wait() == 1);
  }
}

TEST_CASE("activation: an engine without a link says so") {
  CHECK(Process({"facet-engine", "--log-level", "error"}).wait() == 1);
  CHECK(Process({"facet-engine", "--link-fd", "77"}).wait() == 1);
  const UniqueFd file(::open("/dev/null", O_RDWR | O_CLOEXEC));
  CHECK(Process({"facet-engine"}, file.get()).wait() == 1);
}

TEST_CASE("activation: facetd takes its clients' socket from systemd and leaves it there") {
  Folder folder;
  const std::string path = folder / "s";
  const UniqueFd listening = listening_socket(path);
  Client early;  // waits in the socket for the daemon
  REQUIRE(early.connect(path));
  Process daemon({"facetd", "--models", folder / "", "--model", tiny_model_path("gemma3"), "--backend",
                  "reference", "--config", "/dev/null"},
                 listening.get());
  early.greet("early");
  Client later;
  REQUIRE(later.connect(path));
  later.greet("later");
  later.send(request(1, 20, 3));
  CHECK(answer_of(later, 1).size() == 3);
  CHECK(early.status().connections == 2);
  CHECK(daemon.terminate() == 0);
  CHECK(std::filesystem::is_socket(path));
}
