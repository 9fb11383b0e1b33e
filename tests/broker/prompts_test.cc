// What facetd tells an engine about the system prompts of its config file.
#include "tests/broker/scripted_engine.h"

using namespace facet;
using namespace facet::test;

namespace {

struct PromptStage {
  explicit PromptStage(const std::string& config) {
    std::ofstream(folder / "facetd.toml") << config;
    stage = std::make_unique<Stage>(std::vector<std::string>{"--config", folder / "facetd.toml"});
  }

  Folder folder;
  std::unique_ptr<Stage> stage;
};

}  // namespace

TEST_CASE("prompts: an engine gets them before the first request, and the next engine again") {
  PromptStage of(
      "[prompt.b]\nsystem = 'Be terse.'\n[prompt.a]\nmodel = 'm'\nsystem = 'Think.'\nthinking = true\n");
  ScriptedEngine& engine = of.stage->engine;
  engine.accept();
  Client client = of.stage->daemon.client();
  client.send(request(1, 20, 1));
  CHECK(client.status().waiting == 1);
  for (int start = 0; start < 2; ++start) {
    if (start == 1) engine.accept();
    engine.send(link::EngineHello{link::kVersion, "scripted", "none", "none"});
    const auto first = engine.receive_as<link::RegisterPrompt>();
    CHECK(first.name == "b");
    CHECK(first.model == "m");  // the default
    CHECK(first.path == "/models/m.gguf");
    CHECK(first.system == "Be terse.");
    CHECK_FALSE(first.thinking);
    const auto second = engine.receive_as<link::RegisterPrompt>();
    CHECK(second.name == "a");
    CHECK(second.path == "/models/m.gguf");
    CHECK(second.thinking);
    if (start == 0) {
      CHECK(engine.receive_as<link::Start>().path == "/models/m.gguf");
      link::Load load;
      load.registered_prompts = 2;
      load.registered_tokens = 300;
      engine.send(load);
      CHECK(comes_true([&] { return client.status().registered_prompts == 2; }));
      CHECK(client.status().registered_tokens == 300);
      engine.close();
      CHECK(client.receive_as<protocol::Failed>().code == FACET_ENGINE_LOST);
      CHECK(client.status().registered_prompts == 0);
    }
  }
}

TEST_CASE("prompts: one of an unknown model is logged, and is told when a request finds the model") {
  PromptStage of(
      "[prompt.early]\nmodel = 'late'\nsystem = 'Be terse.'\n[prompt.known]\nsystem = 'Be kind.'\n");
  ScriptedEngine& engine = of.stage->engine;
  const Daemon& daemon = of.stage->daemon;
  engine.accept_and_greet();
  CHECK(engine.receive_as<link::RegisterPrompt>().name == "known");
  CHECK(daemon.logs("prompt early: there is no model 'late'; there is: m"));
  Client client = daemon.client();
  client.send(request(1, 20, 1));
  CHECK(engine.receive_as<link::Start>().path == "/models/m.gguf");

  const std::filesystem::path folder = std::filesystem::path(daemon.socket()).parent_path();
  std::ofstream(folder / "late.gguf") << "x";
  auto late = request(2, 20, 1);
  late.model = "late";
  client.send(late);
  const auto prompt = engine.receive_as<link::RegisterPrompt>();
  CHECK(prompt.name == "early");
  CHECK(prompt.path == (folder / "late.gguf").string());
  CHECK(engine.receive_as<link::Start>().path == prompt.path);
  late.id = 3;
  client.send(late);
  CHECK(engine.receive_as<link::Start>().path == prompt.path);
}

TEST_CASE("prompts: facetd does not start with one that cannot be read") {
  Folder folder;
  std::ofstream(folder / "facetd.toml") << "[prompt.help]\nsystem_file = '/no/such'\n";
  CHECK(Process({"facetd", "--config", folder / "facetd.toml", "--socket", folder / "s"}, -1, folder / "log")
            .wait() == 2);
  std::ifstream file(folder / "log");
  const std::string log(std::istreambuf_iterator<char>(file), {});
  CHECK(log.find("[prompt.help]: system_file: cannot open /no/such") != std::string::npos);
}
