// A user who tries to get round the quotas by connections, names, choices, huge prompts and by going away;
// the engine is scripted.
#include <grp.h>
#include <sys/stat.h>

#include <algorithm>

#include "tests/broker/scripted_engine.h"

using namespace facet;
using namespace facet::test;

namespace {

// Connections that were let in, each under another name, of so many that were tried.
std::vector<Client> let_in(const Stage& stage, uint32_t tries) {
  std::vector<Client> clients;
  for (uint32_t i = 0; i < tries; ++i) {
    Client client;
    REQUIRE(client.connect(stage.daemon.socket()));
    protocol::Bytes hello;
    REQUIRE(protocol::encode(protocol::ClientMessage(protocol::ClientHello{1, 1, "app " + std::to_string(i)}),
                             hello)
                .ok());
    client.try_send_bytes(hello);
    const auto answer = client.receive();
    if (std::holds_alternative<protocol::ServerHello>(answer)) {
      clients.push_back(std::move(client));
    } else {
      CHECK(std::get<protocol::Failed>(answer).code == FACET_EXHAUSTED);
    }
  }
  return clients;
}

// Whether all choices were taken; otherwise all were refused, or the connection with the message that came in
// part.
bool takes(Client& client, const protocol::Generate& generate) {
  protocol::Bytes bytes;
  REQUIRE(protocol::encode(protocol::ClientMessage(generate), bytes).ok());
  REQUIRE(protocol::encode(protocol::ClientMessage(protocol::ListModels{999}), bytes).ok());
  client.try_send_bytes(bytes);
  uint32_t refused = 0;
  for (;;) {
    const auto message = client.receive();
    if (std::holds_alternative<protocol::Models>(message)) break;
    if (refused > 0 && std::holds_alternative<protocol::ServerHello>(message)) return false;  // closed
    const auto* failed = std::get_if<protocol::Failed>(&message);
    REQUIRE_MESSAGE(failed, "a message of kind " << message.index());
    CHECK(failed->code == FACET_EXHAUSTED);
    ++refused;
  }
  CHECK((refused == 0 || refused == generate.choices));
  return refused == 0;
}

// A process of another user, which only root can make; it exits with the result.
template <typename Does>
pid_t as_another_user(Does does) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgroups(0, nullptr) != 0 || ::setresuid(65534, 65534, 65534) != 0) ::_exit(101);
    try {
      ::_exit(does());
    } catch (...) {
      ::_exit(100);
    }
  }
  return child;
}

}  // namespace

TEST_CASE(
    "quotas: connections, names, choices, prompts and going away get one user no more than its quotas") {
  constexpr uint32_t kConnections = 20, kRequests = 42, kChoices = 8;
  constexpr uint64_t kBytes = 4 << 20;
  Stage stage({"--user-connections", std::to_string(kConnections), "--user-requests",
               std::to_string(kRequests), "--user-bytes", std::to_string(kBytes)});
  stage.engine.accept_and_greet();
  // What looked for facetd's socket has gone.
  REQUIRE(comes_true([&] { return stage.daemon.client().status().connections == 1; }));
  std::vector<Client> clients;
  REQUIRE(comes_true([&] {
    clients.clear();
    clients = let_in(stage, 50);
    return clients.size() == kConnections;
  }));

  // Choices are taken as a whole, so a few single ones fill the rest.
  auto forked = request(1, 20, 9);
  forked.choices = kChoices;
  uint32_t taken = 0;
  for (auto& client : clients) taken += takes(client, forked) ? kChoices : 0;
  CHECK(taken == kRequests / kChoices * kChoices);
  for (auto& client : clients) taken += takes(client, request(100, 20, 9));
  CHECK(taken == kRequests);
  std::vector<uint64_t> ids;
  std::vector<std::string> apps;
  uint64_t user = 0;
  while (ids.size() < taken) {
    const auto start = stage.engine.receive_as<link::Start>();
    CHECK((user == 0 || start.user == user));
    user = start.user;
    apps.push_back(start.app);
    ids.push_back(start.request.id);
  }
  std::sort(apps.begin(), apps.end());
  CHECK(std::unique(apps.begin(), apps.end()) - apps.begin() > 2);  // many names, and one user

  // Another one has what it had before; only root can be one.
  if (::geteuid() == 0) {
    const std::string place = stage.daemon.socket();
    REQUIRE(::chmod(place.c_str(), 0666) == 0);
    REQUIRE(::chmod(std::filesystem::path(place).parent_path().c_str(), 0755) == 0);
    const pid_t other = as_another_user([&] {
      Client client;
      if (!client.connect(place)) return 1;
      client.greet("modest");
      client.send(request(1, 20, 1));
      return answer_of(client, 1).size() == 1 ? 0 : 2;
    });
    const auto start = stage.engine.receive_as<link::Start>();
    CHECK(start.user != user);
    stage.engine.send_token(start.request.id, 0);
    stage.engine.finish(start.request.id, 1);
    int status = -1;
    REQUIRE(::waitpid(other, &status, 0) == other);
    CHECK(status == 0);
  }

  // Going away frees nothing that the engine still has.
  clients.clear();
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint64_t id = stage.engine.receive_as<link::Cancel>().id;
    CHECK(std::count(ids.begin(), ids.end(), id) == 1);
  }
  REQUIRE(comes_true([&] { return stage.daemon.client().status().connections == 1; }));
  clients = let_in(stage, 3);
  for (auto& client : clients) CHECK(!takes(client, request(1, 20, 9)));
  for (const uint64_t id : ids) {
    stage.engine.send(protocol::Finish{id, protocol::FinishReason::kCancelled, "", {}, {}});
  }
  REQUIRE(comes_true([&] { return clients.front().status().requests.empty(); }));

  // Huge prompts: what is taken, with what answers may take that wait, is within the bytes of the user.
  auto huge = request(0, 20, 9);
  huge.prompt = std::string(1 << 20, 'a');
  uint32_t prompts = 0;
  for (auto& client : clients) {
    for (huge.id = 1; takes(client, huge); ++huge.id) ++prompts;
  }
  CHECK(prompts == 3);
  for (uint32_t i = 0; i < prompts; ++i) (void)stage.engine.receive_as<link::Start>();
}
