// One client of the real facetd with its facet-engine and the reference backend.
#include <nlohmann/json.hpp>

#include "tests/system/process.h"
#include "tests/test_models.h"

using namespace facet;
using namespace facet::test;

namespace {

Daemon start_daemon() {
  return Daemon({"--model", tiny_model_path("gemma3"), "--backend", "reference", "--cache", "f32"});
}

}  // namespace

TEST_CASE("system: a client gets the golden tokens, and the daemon ends cleanly") {
  Daemon daemon = start_daemon();
  std::ifstream file(golden_path("gemma3.json"));
  const auto prompt = nlohmann::json::parse(file)["prompts"][1];
  Client client = daemon.client();
  auto golden = request(1, 0, 8);
  golden.prompt = prompt["ids"].get<protocol::TokenIds>();
  client.send(golden);
  const auto ids = answer_of(client, 1);
  REQUIRE(ids.size() == 8);
  for (size_t i = 0; i < 8; ++i) {
    if (prompt["greedy_margin"][i].get<double>() < 4e-3) break;
    CHECK(ids[i] == prompt["greedy"][i].get<uint32_t>());
  }
  client.close();
  CHECK(daemon.process().terminate() == 0);
}

TEST_CASE("system: a request for a model that is not there is refused by name, and the connection goes on") {
  Daemon daemon = start_daemon();
  Client client = daemon.client();
  auto unknown = request(1, 20, 2);
  unknown.model = "nobody";
  client.send(unknown);
  const auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.code == FACET_NOT_FOUND);
  CHECK(failed.message.find("nobody") != std::string::npos);
  client.send(request(1, 20, 2));
  CHECK(answer_of(client, 1).size() == 2);
}

TEST_CASE("system: an engine packs weights while it serves, and the next one finds them") {
  Folder folder;
  const std::string copies = folder / "copies";
  const auto packed = [&] {
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(copies, none)) {
      if (entry.path().extension() == ".packed") return true;
    }
    return false;
  };
  std::vector<uint32_t> first;
  for (int start = 0; start < 2; ++start) {
    Daemon daemon({"--model", tiny_model_path("gemma3-q4_0"), "--backend", "onednn", "--packed-weights",
                   copies, "--packed-weights-bytes", "1G"});
    Client client = daemon.client();
    for (uint64_t id = 1; id <= 2; ++id) {
      auto next = request(id, 20, 16);
      next.model = "gemma3-q4_0";
      client.send(next);
      const auto ids = answer_of(client, id);
      if (first.empty()) first = ids;
      CHECK(ids == first);
      CHECK(comes_true(packed));
    }
    CHECK(daemon.log().find("not packed") == std::string::npos);
    CHECK((daemon.log().find("are packed in") != std::string::npos) == (start == 0));
  }
}

TEST_CASE("system: a running request is cancelled by its client") {
  Daemon daemon = start_daemon();
  Client client = daemon.client();
  client.send(request(1, 20, 0));
  client.receive_as<protocol::Token>();
  client.send(protocol::Cancel{1});
  protocol::ServerMessage message = client.receive();
  while (std::holds_alternative<protocol::Token>(message)) message = client.receive();
  REQUIRE(std::holds_alternative<protocol::Finish>(message));
  CHECK(std::get<protocol::Finish>(message).reason == protocol::FinishReason::kCancelled);
}
