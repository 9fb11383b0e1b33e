// facetd's public socket under clients that are many, slow or greedy; the engine is scripted.
#include <sys/resource.h>

#include <algorithm>

#include "daemon/base/clock.h"
#include "sdk/protocol/limits.h"
#include "tests/broker/scripted_engine.h"

using namespace facet;
using namespace facet::test;

namespace {

// facetd's answer to a connection: a hello, or why it was refused.
protocol::ServerMessage welcome(const Stage& stage, Client& client) {
  REQUIRE(client.connect(stage.daemon.socket()));
  protocol::Bytes hello;
  REQUIRE(protocol::encode(protocol::ClientMessage(protocol::ClientHello{1, 1, "test"}), hello).ok());
  client.try_send_bytes(hello);
  return client.receive();
}

protocol::Failed refused(const Stage& stage) {
  Client client;
  auto answer = welcome(stage, client);
  REQUIRE(std::holds_alternative<protocol::Failed>(answer));
  return std::get<protocol::Failed>(answer);
}

protocol::Failed refused(Client& client, uint64_t id) {
  client.send(request(id, 20, 1));
  auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.id == id);
  CHECK(failed.code == FACET_EXHAUSTED);
  return failed;
}

// One token and the end for the request that came to the engine next.
void serve_one(Stage& stage) {
  const uint64_t id = stage.engine.receive_as<link::Start>().request.id;
  stage.engine.send_token(id, 0);
  stage.engine.finish(id, 1);
}

}  // namespace

TEST_CASE("clients: one that does not read pauses its own request, and the others go on") {
  Stage stage;
  stage.engine.accept_and_greet();
  Client slow = stage.daemon.client("slow");
  slow.send(request(1, 20, 0));
  const auto slow_start = stage.engine.receive_as<link::Start>().request;
  CHECK(slow_start.credit > 0);
  const std::string page(60 << 10, 'p');  // a few of these fill the socket
  for (uint32_t i = 0; i < slow_start.credit; ++i) stage.engine.send_token(slow_start.id, i, page);

  // What facetd says next; never credit for the slow one. Some for a request that has ended may come late.
  const auto next_for = [&](uint64_t id) {
    for (;;) {
      auto message = stage.engine.receive();
      REQUIRE(message);
      const auto* credit = std::get_if<link::Credit>(&*message);
      if (!credit) return std::move(*message);
      REQUIRE(credit->id != slow_start.id);
      if (credit->id == id) return std::move(*message);
    }
  };
  constexpr uint32_t kTokens = 1000;
  for (int round = 0; round < 3; ++round) {
    Client fast = stage.daemon.client("fast");
    fast.send(request(1, 30, kTokens));
    const auto start = std::get<link::Start>(next_for(0)).request;
    uint32_t granted = start.credit;
    for (uint32_t sent = 0; sent < kTokens; ++sent) {
      while (sent == granted) granted += std::get<link::Credit>(next_for(start.id)).tokens;
      stage.engine.send_token(start.id, sent);
      CHECK(fast.receive_as<protocol::Token>().sequence == sent);
    }
    stage.engine.finish(start.id, kTokens);
    fast.receive_as<protocol::Finish>();
  }

  for (uint32_t i = 0; i < slow_start.credit; ++i) {
    const auto token = slow.receive_as<protocol::Token>();
    CHECK(token.sequence == i);
    CHECK(token.text == page);
  }
  auto next = stage.engine.receive();
  while (next && std::get<link::Credit>(*next).id != slow_start.id) next = stage.engine.receive();
  REQUIRE(next);
  CHECK(std::get<link::Credit>(*next).tokens == slow_start.credit);
  stage.engine.send_token(slow_start.id, slow_start.credit);
  CHECK(slow.receive_as<protocol::Token>().sequence == slow_start.credit);
}

TEST_CASE("clients: a thousand idle connections beside one that works") {
  constexpr uint32_t kIdle = 1000;
  rlimit files = {};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &files) == 0);
  REQUIRE_MESSAGE(files.rlim_max >= kIdle + 100, "this test needs a limit of 1100 open files");
  files.rlim_cur = files.rlim_max;
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &files) == 0);

  Stage stage({"--user-connections", std::to_string(kIdle + 1)});
  stage.engine.accept_and_greet();
  Client works = stage.daemon.client("works");
  REQUIRE(
      comes_true([&] { return works.status().connections == 1; }));  // the one that looked for it has gone
  std::vector<Client> idle;
  for (uint32_t i = 0; i < kIdle; ++i) idle.push_back(stage.daemon.client());
  CHECK(works.status().connections == kIdle + 1);
  CHECK(refused(stage).message.find("limit 1001") != std::string::npos);
  for (uint64_t id = 1; id <= 20; ++id) {
    works.send(request(id, 20, 1));
    serve_one(stage);
    CHECK(answer_of(works, id).size() == 1);
  }
  idle.front().send(request(1, 20, 1));
  serve_one(stage);
  CHECK(answer_of(idle.front(), 1).size() == 1);
  idle.clear();
  CHECK(comes_true([&] { return works.status().connections == 1; }));
  CHECK(stage.daemon.process().terminate() == 0);
}

TEST_CASE("clients: connections of a user and of all") {
  for (const char* limit : {"--user-connections", "--connections"}) {
    Stage stage({limit, "3"});
    std::vector<Client> clients(3);
    for (auto& client : clients) {
      REQUIRE(
          comes_true([&] { return std::holds_alternative<protocol::ServerHello>(welcome(stage, client)); }));
    }
    const auto failed = refused(stage);
    CHECK(failed.id == 0);
    CHECK(failed.code == FACET_EXHAUSTED);
    CHECK(failed.message.find("(limit 3)") != std::string::npos);
    clients.pop_back();
    Client again;
    CHECK(comes_true([&] { return std::holds_alternative<protocol::ServerHello>(welcome(stage, again)); }));
  }
}

TEST_CASE("clients: open requests of a connection and of a user") {
  Stage stage({"--open-requests", "2", "--user-requests", "3"});
  stage.engine.accept_and_greet();
  Client one = stage.daemon.client();
  Client other = stage.daemon.client();
  CHECK(one.greeted().limits.open_requests == 2);
  one.send(request(1, 20, 1));
  one.send(request(2, 20, 1));
  CHECK(refused(one, 3).message == "too many open requests on this connection (limit 2)");
  other.send(request(1, 20, 1));
  CHECK(refused(other, 2).message.find("too many open requests of user") == 0);
  serve_one(stage);
  CHECK(answer_of(one, 1).size() == 1);
  other.send(request(2, 20, 1));
  for (int i = 0; i < 3; ++i) serve_one(stage);
  CHECK(answer_of(one, 2).size() == 1);
  CHECK(answer_of(other, 1).size() == 1);
  CHECK(answer_of(other, 2).size() == 1);
}

TEST_CASE("clients: what one that went has left in the engine is its user's until the engine ends it") {
  Stage stage({"--user-requests", "2"});
  stage.engine.accept_and_greet();
  std::vector<uint64_t> left;
  {
    Client goes = stage.daemon.client();
    for (uint64_t id = 1; id <= 2; ++id) {
      goes.send(request(id, 20, 0));
      left.push_back(stage.engine.receive_as<link::Start>().request.id);
    }
  }
  for (const uint64_t id : left) CHECK(stage.engine.receive_as<link::Cancel>().id == id);
  Client stays = stage.daemon.client();
  CHECK(refused(stays, 1).message.find("too many open requests of user") == 0);
  stage.engine.send_token(left[0], 0);  // was on its way
  stage.engine.send(protocol::Finish{left[0], protocol::FinishReason::kCancelled, "", {}, {}});
  CHECK(comes_true([&] { return stays.status().requests.size() == 1; }));
  stays.send(request(2, 20, 1));
  serve_one(stage);
  CHECK(answer_of(stays, 2).size() == 1);
  stage.engine.close();  // and what was left goes with the engine
  CHECK(comes_true([&] { return stays.status().requests.empty(); }));
  stage.engine.accept_and_greet();
  for (uint64_t id = 3; id <= 4; ++id) stays.send(request(id, 20, 1));
  for (int i = 0; i < 2; ++i) serve_one(stage);
}

TEST_CASE("clients: bytes of a connection and of a user") {
  Stage stage({"--connection-bytes", "40K", "--user-bytes", "50K"});
  stage.engine.accept_and_greet();
  Client one = stage.daemon.client();
  auto large = request(1, 20, 1);
  large.prompt = std::string(10'000, 'a');
  one.send(large);
  const auto refused_message = [](Client& client, protocol::Generate generate) {
    generate.id += 1;
    client.send(generate);
    return client.receive_as<protocol::Failed>().message;
  };
  CHECK(refused_message(one, large) == "too many bytes outstanding on this connection (limit 40960)");
  Client other = stage.daemon.client();
  CHECK(refused_message(other, large).find("too many bytes outstanding of user") == 0);
  serve_one(stage);
  CHECK(answer_of(one, 1).size() == 1);
  other.send(large);
  serve_one(stage);
  CHECK(answer_of(other, 1).size() == 1);

  // A message that never comes whole counts as it comes.
  protocol::Bytes frame;
  large.prompt = std::string(1 << 20, 'a');
  REQUIRE(protocol::encode(protocol::ClientMessage(large), frame).ok());
  frame.resize(frame.size() / 2);
  one.try_send_bytes(frame);
  const auto failed = one.receive_as<protocol::Failed>();
  CHECK(failed.id == 0);
  CHECK(failed.code == FACET_EXHAUSTED);
  CHECK(comes_true([&] { return other.status().connections == 1; }));
}

TEST_CASE("clients: what an empty part of a chat takes in memory counts, too") {
  Stage stage({"--connection-bytes", "100K"});
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  auto chat = request(1, 20, 1);
  chat.prompt = protocol::Chat{.messages = std::vector<protocol::Message>(1000), .tools = {}};
  client.send(chat);
  CHECK(client.receive_as<protocol::Failed>().message ==
        "too many bytes outstanding on this connection (limit 102400)");
}

TEST_CASE("clients: many messages at once are all answered, in their order") {
  Stage stage;
  Client client = stage.daemon.client();
  protocol::Bytes frames;
  for (uint64_t id = 1; id <= 100; ++id) {
    REQUIRE(protocol::encode(protocol::ClientMessage(protocol::ListModels{id}), frames).ok());
  }
  client.try_send_bytes(frames);
  for (uint64_t id = 1; id <= 100; ++id) CHECK(client.receive_as<protocol::Models>().id == id);
}

TEST_CASE("clients: the status shows what the engine counts, and nothing of a lost one") {
  Stage stage;
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  stage.engine.send(link::Load{1, 2, 30, 4, 5, 6, 7, 8});
  REQUIRE(comes_true([&] { return client.status().cache_pages == 30; }));
  const auto status = client.status();
  CHECK(status.running == 1);
  CHECK(status.waiting == 2);
  CHECK(status.cache_pages_free == 4);
  CHECK(status.parked == 5);
  CHECK(status.evicted == 6);
  CHECK(status.cached_tokens == 7);
  CHECK(status.computed_tokens == 8);
  stage.engine.close();
  CHECK(comes_true([&] { return client.status().cached_tokens == 0; }));
}

TEST_CASE("clients: class and weight come from the policy, the user's key from the user") {
  Folder folder;
  const std::string uid = std::to_string(::getuid()), gid = std::to_string(::getgid());
  const auto stage_with = [&](const std::string& policy) {
    std::ofstream(folder / "facetd.toml") << policy;
    return std::make_unique<Stage>(std::vector<std::string>{"--config", folder / "facetd.toml"});
  };
  const auto of_class = [](uint64_t id, protocol::Priority priority) {
    auto one = request(id, 20, 1);
    one.priority = priority;
    return one;
  };
  using enum protocol::Priority;
  uint64_t key = 0;
  {
    const auto stage =
        stage_with("[policy.user." + uid + "]\nclasses = ['standard', 'background']\nweight = 2.5\n" +
                   "[policy.group." + gid + "]\nweight = 7\n");
    stage->engine.accept_and_greet();
    Client one = stage->daemon.client("one"), other = stage->daemon.client("other");
    one.send(of_class(1, kInteractive));
    const auto failed = one.receive_as<protocol::Failed>();
    CHECK(failed.id == 1);
    CHECK(failed.code == FACET_DENIED);
    CHECK(failed.message ==
          "user " + uid + " may not make requests of the class interactive, only standard, background");
    CHECK(one.status().requests.empty());

    one.send(of_class(1, kStandard));
    const auto start = stage->engine.receive_as<link::Start>();
    CHECK(start.request.priority == kStandard);
    CHECK(start.weight == 2.5);
    CHECK(start.app == "one");
    other.send(of_class(1, kBackground));
    const auto next = stage->engine.receive_as<link::Start>();
    CHECK(next.request.priority == kBackground);
    CHECK(next.weight == 2.5);
    CHECK(next.user == start.user);
    CHECK(start.user != ::getuid());
    key = start.user;
  }
  const auto stage = stage_with("[policy.group." + gid + "]\nweight = 7\n");
  stage->engine.accept_and_greet();
  Client client = stage->daemon.client();
  client.send(of_class(1, kInteractive));
  const auto start = stage->engine.receive_as<link::Start>();
  CHECK(start.request.priority == kInteractive);
  CHECK(start.weight == 7);
  CHECK(start.user != key);  // another run, another secret
}

TEST_CASE("clients: facetd does not start with a policy for someone who is not there") {
  Folder folder;
  std::ofstream(folder / "facetd.toml") << "[policy.user.nobody-of-facet]\nweight = 2\n";
  CHECK(Process({"facetd", "--config", folder / "facetd.toml", "--socket", folder / "s"}, -1, folder / "log")
            .wait() == 2);
  std::ifstream file(folder / "log");
  const std::string log(std::istreambuf_iterator<char>(file), {});
  CHECK_MESSAGE(log.find("facetd.toml:1: [policy.user.nobody-of-facet]: there is no user") != log.npos, log);
}

TEST_CASE("clients: a socket that a killed facetd left is taken over") {
  Folder folder;
  const std::string path = folder / "s";
  listening_socket(path).reset();
  REQUIRE(std::filesystem::is_socket(path));
  Process daemon({"facetd", "--config", "/dev/null", "--models", folder / "", "--socket", path,
                  "--engine-socket", folder / "engine"},
                 -1, folder / "log");
  Client client;
  REQUIRE(comes_true([&] { return client.connect(path); }));
  client.greet("test");
  CHECK(daemon.terminate() == 0);
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("clients: a second facetd at the same socket ends, and the first goes on") {
  Stage stage;
  Folder folder;
  const auto run = [&](const std::string& socket) {
    return Process({"facetd", "--config", "/dev/null", "--models", folder / "", "--socket", socket}, -1,
                   folder / "log")
        .wait();
  };
  const auto log = [&] {
    std::ifstream file(folder / "log");
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  CHECK(run(stage.daemon.socket()) == 1);
  CHECK(log().find("another daemon serves " + stage.daemon.socket()) != std::string::npos);
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  client.send(request(1, 20, 1));
  serve_one(stage);
  CHECK(answer_of(client, 1).size() == 1);

  std::ofstream(folder / "file") << "mine";
  CHECK(run(folder / "file") == 1);
  CHECK(log().find("is there and is no socket") != std::string::npos);
  CHECK(std::filesystem::file_size(folder / "file") == 4);
  CHECK(run(folder / std::string(200, 'x')) == 1);
  CHECK(log().find("the socket's path must have") != std::string::npos);
}

TEST_CASE("clients: a deadline goes to the engine as a moment, and its finish comes back") {
  Stage stage;
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  CHECK(std::count(client.greeted().features.begin(), client.greeted().features.end(), "deadline") == 1);
  auto limited = request(1, 20, 9);
  limited.deadline_ms = 5000;
  const Micros before = now_micros();
  client.send(limited);
  const auto start = stage.engine.receive_as<link::Start>();
  CHECK(start.deadline >= before + 5'000'000);
  CHECK(start.deadline <= now_micros() + 5'000'000);
  stage.engine.send_token(start.request.id, 0);
  stage.engine.send(protocol::Finish{start.request.id, protocol::FinishReason::kDeadline, "", {4, 1}, {}});
  CHECK(client.receive_as<protocol::Token>().sequence == 0);
  const auto finish = client.receive_as<protocol::Finish>();
  CHECK(finish.reason == protocol::FinishReason::kDeadline);
  CHECK(finish.usage.generated_tokens == 1);
  client.send(request(2, 20, 9));
  CHECK(stage.engine.receive_as<link::Start>().deadline == 0);

  // One beyond the bound fails alone; the codec of our side would not send it.
  protocol::Bytes bytes;
  limited.id = 3;
  limited.deadline_ms = protocol::kMaxDeadlineMs;
  REQUIRE(protocol::encode(protocol::ClientMessage(limited), bytes).ok());
  const auto most = std::as_bytes(std::span(&limited.deadline_ms, 1));
  const auto at = std::search(bytes.begin(), bytes.end(), most.begin(), most.end());
  REQUIRE(at != bytes.end());
  *at = std::byte{0xff};
  client.send_bytes(bytes);
  const auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.id == 3);
  CHECK(failed.code == FACET_TOO_LARGE);
}

TEST_CASE("clients: several choices are as many requests, which differ in their seeds") {
  Stage stage;
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  const auto& features = client.greeted().features;
  CHECK(std::count(features.begin(), features.end(), "choices") == 1);
  CHECK(client.greeted().limits.choices == protocol::kMaxChoices);
  auto forked = request(5, 20, 9);
  forked.choices = 3;
  forked.sampling.seed = ~uint64_t{0};
  client.send(forked);
  std::vector<uint64_t> ids;
  for (uint64_t choice = 0; choice < 3; ++choice) {
    const auto start = stage.engine.receive_as<link::Start>();
    CHECK(start.request.choices == 1);
    CHECK(start.request.sampling.seed == ~uint64_t{0} + choice);
    CHECK(start.request.prompt == forked.prompt);
    ids.push_back(start.request.id);
  }
  CHECK(client.status().requests.size() == 3);
  // Each has its own tokens, cancel and end.
  stage.engine.send_token(ids[1], 0);
  CHECK(client.receive_as<protocol::Token>().id == 6);
  client.send(protocol::Cancel{7});
  CHECK(stage.engine.receive_as<link::Cancel>().id == ids[2]);
  stage.engine.finish(ids[2], 0);
  CHECK(client.receive_as<protocol::Finish>().id == 7);
  stage.engine.finish(ids[0], 0);
  CHECK(client.receive_as<protocol::Finish>().id == 5);
  // An id in the middle of the row is open.
  client.send(forked);
  CHECK(client.receive_as<protocol::Failed>().message == "request 6 is open already");
}

TEST_CASE("clients: choices are taken or refused together, and count for the limits") {
  Stage stage({"--open-requests", "4", "--user-requests", "5"});
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client();
  auto forked = request(1, 20, 9);
  const auto refused_whole = [&](Client& one, uint64_t id) {
    forked.id = id;
    one.send(forked);
    for (uint64_t choice = 0; choice < forked.choices; ++choice) {
      const auto failed = one.receive_as<protocol::Failed>();
      CHECK(failed.id == id + choice);
      CHECK(failed.code == FACET_EXHAUSTED);
    }
  };
  forked.choices = 5;
  refused_whole(client, 10);
  forked.choices = 3;
  client.send(forked);
  std::vector<uint64_t> ids;
  while (ids.size() < 3) ids.push_back(stage.engine.receive_as<link::Start>().request.id);
  forked.choices = 2;
  refused_whole(client, 20);
  Client other = stage.daemon.client();
  forked.choices = 3;
  refused_whole(other, 30);
  // A lost engine ends each of them.
  stage.engine.close();
  for (uint64_t choice = 0; choice < 3; ++choice) {
    const auto failed = client.receive_as<protocol::Failed>();
    CHECK(failed.id == 10 + choice);
    CHECK(failed.code == FACET_ENGINE_LOST);
  }
  forked.id = ~uint64_t{0};
  other.send(forked);
  CHECK(other.receive_as<protocol::Failed>().message == "a request's id is 0");
}

TEST_CASE("clients: a deadline that passes while no engine is ready is told") {
  Stage stage;
  stage.engine.accept();
  Client client = stage.daemon.client();
  auto limited = request(1, 20, 9);
  limited.deadline_ms = 1;
  client.send(limited);
  client.send(request(2, 20, 1));
  const auto failed = client.receive_as<protocol::Failed>();
  CHECK(failed.id == 1);
  CHECK(failed.code == FACET_DEADLINE);
  stage.engine.send(link::EngineHello{link::kVersion, "scripted", "none", "none"});
  serve_one(stage);
  CHECK(answer_of(client, 2).size() == 1);
}

TEST_CASE("clients: a full queue's refusal comes whole; many connections and names are one user") {
  Stage stage;
  stage.engine.accept_and_greet();
  std::vector<Client> clients;
  std::optional<uint64_t> user;
  for (const char* name : {"one", "two", "three"}) {
    clients.push_back(stage.daemon.client(name));
    clients.back().send(request(7, 20, 1));
    const auto start = stage.engine.receive_as<link::Start>();
    CHECK(start.app == name);
    CHECK(start.user == user.value_or(start.user));
    user = start.user;
    stage.engine.send(protocol::Failed{start.request.id, FACET_EXHAUSTED, "the queue is full", 1200});
    const auto failed = clients.back().receive_as<protocol::Failed>();
    CHECK(failed.id == 7);
    CHECK(failed.code == FACET_EXHAUSTED);
    CHECK(failed.message == "the queue is full");
    CHECK(failed.retry_after_ms == 1200);
  }
}

TEST_CASE("clients: a status says where the asker's requests stand, as the engine tells it") {
  Stage stage;
  stage.engine.accept_and_greet();
  Client client = stage.daemon.client("one");
  CHECK(client.status().requests.empty());  // nothing to ask the engine for
  std::vector<uint64_t> ids;
  for (uint64_t id : {1, 2}) {
    client.send(request(id, 20, 1));
    ids.push_back(stage.engine.receive_as<link::Start>().request.id);
  }
  stage.engine.send(link::Started{ids[0], 4});
  Client other = stage.daemon.client("two");
  client.send(protocol::GetStatus{50});
  CHECK(stage.engine.receive_question() == ids);
  // No status waits for long, whoever asks, and none of a session for another one.
  other.send(protocol::GetStatus{60});
  client.send(protocol::GetStatus{51});
  const auto first = client.receive_as<protocol::Status>(), second = client.receive_as<protocol::Status>();
  CHECK(first.id + second.id == 50 + 51);
  for (const auto& status : {first, second, other.receive_as<protocol::Status>()}) {
    REQUIRE(status.requests.size() == 2);
    CHECK(status.requests[0].running);
    CHECK_FALSE(status.requests[1].running);
    for (const auto& one : status.requests) CHECK(one.position == 0);
  }
  // What the engine tells now or told last.
  stage.engine.send(link::Positions{{{ids[1], 3, 1200}}});
  client.send(protocol::GetStatus{53});
  const auto told = client.receive_as<protocol::Status>();
  CHECK(told.id == 53);
  REQUIRE(told.requests.size() == 2);
  CHECK(told.requests[0].position == 0);
  CHECK(told.requests[1].position == 3);
  CHECK(told.requests[1].wait_ms == 1200);
  // Once it runs it has no position.
  stage.engine.send(link::Started{ids[1], 4});
  CHECK(comes_true([&] { return client.status().requests.at(1).running; }));
  CHECK(client.status().requests.at(1).position == 0);

  // One whose asker left is no trouble.
  client.send(protocol::GetStatus{52});
  other.send(protocol::GetStatus{61});
  other.close();
  CHECK(client.receive_as<protocol::Status>().id == 52);
  for (const uint64_t id : ids) stage.engine.finish(id, 0);
}
