// The real facetd with its facet-engine and the reference backend, spoken to over its socket.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "sdk/protocol/codec.h"
#include "sdk/protocol/framing.h"
#include "tests/test_models.h"

using namespace facet;

namespace {

constexpr int kWaitSeconds = 60;

// A facetd of its own, with the tiny model; ended by SIGTERM.
class Daemon {
 public:
  Daemon() {
    char name[] = "/tmp/facet-test-XXXXXX";
    folder_ = mkdtemp(name);
    socket_ = folder_ + "/s";
    const std::string program = FACET_BIN "/facetd", model = test::tiny_model_path("gemma3");
    process_ = fork();
    if (process_ == 0) {
      execl(program.c_str(), "facetd", "--socket", socket_.c_str(), "--model", model.c_str(), "--backend",
            "reference", "--cache", "f32", nullptr);
      _exit(127);
    }
  }
  ~Daemon() {
    if (process_ > 0) stop();
    std::filesystem::remove_all(folder_);
  }
  int stop() {
    kill(process_, SIGTERM);
    int status = 0;
    waitpid(process_, &status, 0);
    process_ = 0;
    return status;
  }
  const std::string& socket() const { return socket_; }

 private:
  std::string folder_, socket_;
  pid_t process_ = 0;
};

class Connection {
 public:
  explicit Connection(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    fd_ = socket(AF_UNIX, SOCK_STREAM, 0);
    timeval limit{kWaitSeconds, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    int connected = -1;
    for (int i = 0; i < 200 && connected != 0; ++i) {
      connected = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
      if (connected != 0) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    REQUIRE(connected == 0);
    send(protocol::ClientHello{});
    auto hello = receive();
    REQUIRE(std::holds_alternative<protocol::ServerHello>(hello));
  }
  ~Connection() { close(fd_); }

  void send(const protocol::ClientMessage& message) {
    protocol::Bytes bytes;
    REQUIRE(protocol::encode(message, bytes).ok());
    REQUIRE(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
  }
  protocol::ServerMessage receive() {
    while (reader_.missing() > 0) {
      auto space = reader_.space();
      ssize_t got = recv(fd_, space.data(), space.size(), 0);
      REQUIRE(got > 0);
      reader_.filled(static_cast<size_t>(got));
    }
    auto frame = reader_.next();
    REQUIRE(frame.ok());
    auto message = protocol::decode_server(*frame);
    REQUIRE_MESSAGE(message.ok(), message.error().message);
    return std::move(*message);
  }
  // All tokens of one request, and its end.
  std::pair<std::vector<uint32_t>, protocol::ServerMessage> answer() {
    std::vector<uint32_t> ids;
    for (;;) {
      protocol::ServerMessage message = receive();
      auto* token = std::get_if<protocol::Token>(&message);
      if (token == nullptr) return {ids, std::move(message)};
      ids.push_back(token->token);
    }
  }

 private:
  int fd_ = -1;
  protocol::FrameReader reader_;
};

protocol::Generate greedy(protocol::TokenIds ids, uint32_t max_tokens) {
  protocol::Generate request;
  request.id = 1;
  request.prompt = std::move(ids);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_end = true;
  return request;
}

}  // namespace

TEST_CASE("a client over the socket gets the golden tokens, and the daemon ends cleanly") {
  Daemon daemon;
  std::ifstream file(test::golden_path("gemma3.json"));
  auto prompt = nlohmann::json::parse(file)["prompts"][1];
  {
    Connection client(daemon.socket());
    client.send(greedy(prompt["ids"], 8));
    auto [ids, end] = client.answer();
    auto* finish = std::get_if<protocol::Finish>(&end);
    REQUIRE(finish != nullptr);
    CHECK(finish->reason == protocol::FinishReason::kLength);
    REQUIRE(ids.size() == 8);
    for (size_t i = 0; i < 8; ++i) {
      if (prompt["greedy_margin"][i].get<double>() < 4e-3) break;
      CHECK(ids[i] == prompt["greedy"][i].get<uint32_t>());
    }
  }
  CHECK(daemon.stop() == 0);
}

TEST_CASE("a request for a model that is not there is refused by name, and the connection goes on") {
  Daemon daemon;
  Connection client(daemon.socket());
  protocol::Generate request = greedy({2, 3}, 2);
  request.model = "nobody";
  client.send(request);
  auto refused = client.answer().second;
  auto* failed = std::get_if<protocol::Failed>(&refused);
  REQUIRE(failed != nullptr);
  CHECK(failed->code == FACET_NOT_FOUND);
  CHECK(failed->message.find("nobody") != std::string::npos);
  client.send(greedy({2, 3}, 2));
  CHECK(client.answer().first.size() == 2);
}

TEST_CASE("a running request is cancelled by its client") {
  Daemon daemon;
  Connection client(daemon.socket());
  client.send(greedy({2, 3}, 0));
  REQUIRE(std::holds_alternative<protocol::Token>(client.receive()));
  client.send(protocol::Cancel{1});
  auto end = client.answer().second;
  auto* finish = std::get_if<protocol::Finish>(&end);
  REQUIRE(finish != nullptr);
  CHECK(finish->reason == protocol::FinishReason::kCancelled);
}
