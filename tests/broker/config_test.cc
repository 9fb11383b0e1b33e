// The example of a config file that is installed: facetd takes it as it stands, and with every line of it
// switched on.
#include "daemon/broker/config.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>

using namespace facet;
using namespace facet::broker;

namespace {

std::string example() {
  std::ostringstream text;
  text << std::ifstream(FACET_EXAMPLE_CONFIG).rdbuf();
  return text.str();
}

Result<void> read(Config& config, const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() / ("facet-config-" + std::to_string(::getpid()));
  std::ofstream(path) << text;
  auto read = settings::read_file(config_table(config), path.string());
  std::filesystem::remove(path);
  if (!read) return Error{read.error().code, read.error().message.substr(path.string().size())};
  return {};
}

// What facetd's config is after it read `text`, as its manual shows it; or the error.
std::string after(const std::string& text) {
  Config config;
  config.models.folder = "/var/lib/facet/models";
  if (auto taken = read(config, text); !taken) return taken.error().message;
  return settings::manual({"facetd", FACET_VERSION, "", ""}, config_table(config));
}

}  // namespace

TEST_CASE("example config: parses, and means what facetd does without a config file") {
  const std::string text = example();
  REQUIRE(text.find("# cache_bytes = ") != text.npos);
  const std::string defaults = after("");
  CHECK(after(text) == defaults);
  // What follows the first line, which says who wrote it.
  CHECK(text.substr(text.find('\n')) == defaults.substr(defaults.find('\n')));

  std::string on =
      std::regex_replace(text, std::regex("\n# ([a-z_]+ = |\\[model|\\[policy|\\[prompt)"), "\n$1");
  on = std::regex_replace(on, std::regex("\n\\[policy\\.(user|group)\\.NAME"), "\n[policy.$1.root");
  on = std::regex_replace(on, std::regex("\n\\[policy\\.sandbox\\.NAME"), "\n[policy.sandbox.unknown");
  REQUIRE(on.find("\ncache_bytes = ") != on.npos);
  REQUIRE(on.find("\n[model.NAME]") != on.npos);
  REQUIRE(on.find("\n[policy.group.root]") != on.npos);
  REQUIRE(on.find("\n[policy.sandbox.unknown]") != on.npos);
  REQUIRE(on.find("\n[prompt.NAME]") != on.npos);
  CHECK(after(on) == defaults);
  CHECK(after(on + "unknown = 1\n").find("unknown") != std::string::npos);
}

TEST_CASE("policy config: users and groups by name and number, groups in the file's order") {
  Config config;
  const auto taken = read(config, R"(
[policy.group.70]
classes = ["interactive"]
[policy.user]
1000 = { classes = "background", weight = 3 }
[policy.group.root]
[policy.user.root]
classes = []
[policy]
weight = 1e-3
classes = ["standard"]
group.9.weight = 999.5
)");
  REQUIRE_MESSAGE(taken.ok(), taken.error().message);
  const Grants& grants = config.grants;
  using Classes = std::vector<std::string>;
  CHECK(grants.everybody.classes == Classes{"standard"});
  CHECK(grants.everybody.weight == 0.001);
  REQUIRE(grants.users.size() == 2);
  CHECK(grants.users.at(0).classes.empty());
  CHECK(grants.users.at(0).weight == 0.001);  // as in [policy], wherever that stands
  CHECK(grants.users.at(1000).classes == Classes{"background"});
  CHECK(grants.users.at(1000).weight == 3);
  REQUIRE(grants.groups.size() == 3);
  CHECK(grants.groups[0].first == 70);
  CHECK(grants.groups[0].second.classes == Classes{"interactive"});
  CHECK(grants.groups[1].first == 0);
  CHECK(grants.groups[1].second.classes == Classes{"standard"});
  CHECK(grants.groups[2].first == 9);
  CHECK(grants.groups[2].second.weight == 999.5);
}

TEST_CASE("policy config: sandboxes by name, each as all are where it says nothing; quotas") {
  Config config;
  const auto taken = read(config, R"(
[policy.sandbox."flatpak:org.example.App"]
classes = ["interactive"]
[policy.sandbox]
classes = ["background"]
requests = 4
unknown.bytes = "2M"
[policy.sandbox."snap:firefox"]
connections = 3
[policy]
requests = 9
user.root.bytes = 1024
)");
  REQUIRE_MESSAGE(taken.ok(), taken.error().message);
  const Grants& grants = config.grants;
  using Classes = std::vector<std::string>;
  CHECK(grants.everybody.quota.requests == 9);
  CHECK(grants.users.at(0).quota.requests == 9);
  CHECK(grants.users.at(0).quota.bytes == 1024);
  CHECK(grants.sandboxed.classes == Classes{"background"});
  CHECK(grants.sandboxed.quota.requests == 4);
  REQUIRE(grants.sandboxes.size() == 3);
  const Bounds& flatpak = grants.sandboxes.at("flatpak:org.example.App");
  CHECK(flatpak.classes == Classes{"interactive"});
  CHECK(flatpak.quota.requests == 4);  // as in [policy.sandbox], wherever that stands
  CHECK(grants.sandboxes.at("snap:firefox").classes == Classes{"background"});
  CHECK(grants.sandboxes.at("snap:firefox").quota.connections == 3);
  CHECK(grants.sandboxes.at("unknown").quota.bytes == 2 << 20);
}

TEST_CASE("policy config: what is wrong is named with its line") {
  CHECK(after("[policy.sandbox.firefox]\n") ==
        ":1: [policy.sandbox.firefox]: 'firefox' names no sandbox, as flatpak:ID, snap:NAME and unknown do");
  CHECK(after("[policy.sandbox]\nweight = 2\n") == ":2: 'weight' should be a table [policy.sandbox.weight]");
  CHECK(after("[policy.sandbox.unknown]\nweight = 2\n") == ":2: unknown setting 'weight'");
  CHECK(after("[policy]\nrequests = 2000000\n").find(":2: requests: takes a number from 0 to 1048576") == 0);
  CHECK(after("[policy.user.nobody-of-facet]\n") ==
        ":1: [policy.user.nobody-of-facet]: there is no user 'nobody-of-facet'");
  CHECK(after("\n[policy.group.none-of-facet]\nweight = 2\n") ==
        ":2: [policy.group.none-of-facet]: there is no group 'none-of-facet'");
  CHECK(after("[policy.user.4294967295]\n").find("there is no user '4294967295'") != std::string::npos);
  CHECK(after("[policy.user.-1]\n").find("there is no user '-1'") != std::string::npos);
  CHECK(after("[policy.user.root]\n[policy.user.0]\n").find("user 0 has an entry already") !=
        std::string::npos);
  CHECK(after("[policy.group.root]\n[policy.group.0]\n").find("group 0 has an entry already") !=
        std::string::npos);
  CHECK(after("[policy.user]\nroot = 1\n") == ":2: 'root' should be a table [policy.user.root]");
  CHECK(after("[policy.user.root]\nlimit = 1\n") == ":2: unknown setting 'limit'");
  CHECK(after("[policy.team.a]\nweight = 1\n") == ":1: unknown setting 'team'");
  CHECK(after("[policy.user.root]\nclasses = ['standard', 'urgent']\n") ==
        ":2: classes: takes one of interactive, standard, background, not 'urgent'");
  CHECK(after("[policy.user.root]\nclasses = [['standard']]\n").find("not of lists") != std::string::npos);
  for (const char* weight : {"0", "0.0009", "1000.5", "-1", "nan", "inf", "'2x'", "true", "[1, 2]"}) {
    const std::string error = after(std::string("[policy]\nweight = ") + weight + "\n");
    CHECK_MESSAGE(error.find(":2: weight") == 0, weight << " gives " << error);
  }
}

TEST_CASE(
    "prompt config: in the file's order, from the file or from one of its own, without the last line's end") {
  const auto path = std::filesystem::temp_directory_path() / ("facet-prompt-" + std::to_string(::getpid()));
  std::ofstream(path) << "Größe\n\nYou are terse.\r\n\n";
  Config config;
  const auto taken = read(config, R"(
[prompt.z]
system = """
You are the help desk.
"Ask" first.
"""
[prompt."second one"]
model = "gemma"
thinking = true
system_file = ")" + path.string() + "\"\n");
  std::filesystem::remove(path);
  REQUIRE_MESSAGE(taken.ok(), taken.error().message);
  REQUIRE(config.prompts.size() == 2);
  CHECK(config.prompts[0].name == "z");
  CHECK(config.prompts[0].model.empty());
  CHECK(config.prompts[0].system == "You are the help desk.\n\"Ask\" first.");
  CHECK_FALSE(config.prompts[0].thinking);
  CHECK(config.prompts[1].name == "second one");
  CHECK(config.prompts[1].model == "gemma");
  CHECK(config.prompts[1].system == "Größe\n\nYou are terse.");
  CHECK(config.prompts[1].thinking);
}

TEST_CASE("prompt config: what is wrong is named with its line") {
  CHECK(after("\n[prompt.a]\nmodel = 'm'\n") == ":2: [prompt.a]: takes one of system and system_file");
  CHECK(after("[prompt.a]\nsystem = 'x'\nsystem_file = '/x'\n") ==
        ":1: [prompt.a]: takes one of system and system_file");
  CHECK(after("[prompt.a]\nsystem = \"\\n\\n\"\n") == ":1: [prompt.a]: system: has no text");
  CHECK(after("[prompt.a]\nsystem = ['x']\n") == ":2: system takes one value, not a list");
  CHECK(after("[prompt.a]\nsystem = 'x'\nthinking = 'maybe'\n") ==
        ":3: thinking: takes true or false, not 'maybe'");
  CHECK(after("[prompt.a]\nsystems = 'x'\n") == ":2: unknown setting 'systems'");
  CHECK(after("[prompt]\nsystem = 'x'\n") == ":2: 'system' should be a table [prompt.system]");
  CHECK(after("[prompt.a]\nsystem = '" + std::string((1 << 20) + 1, 'x') + "'\n") ==
        ":1: [prompt.a]: system: has more than 1048576 bytes");
  CHECK(after("[prompt." + std::string(257, 'n') + "]\nsystem = 'x'\n").find("a name has 1 to 256 bytes") !=
        std::string::npos);
  CHECK(after("[prompt.a]\nsystem_file = '/dev/zero'\n") ==
        ":1: [prompt.a]: system_file: has more than 1048576 bytes");
  CHECK(after("[prompt.a]\nsystem_file = '/no/such'\n") ==
        ":1: [prompt.a]: system_file: cannot open /no/such: No such file or directory");
  CHECK(after("[prompt.a]\nsystem_file = '/'\n").find(":1: [prompt.a]: system_file: ") == 0);
  CHECK(after("[prompt.a]\nsystem_file = '/dev/null'\n") == ":1: [prompt.a]: system_file: has no text");

  const auto path = std::filesystem::temp_directory_path() / ("facet-prompt-" + std::to_string(::getpid()));
  std::ofstream(path) << "caf\xe9";
  CHECK(after("[prompt.a]\nsystem_file = '" + path.string() + "'\n") ==
        ":1: [prompt.a]: system_file: is not UTF-8");
  std::filesystem::remove(path);

  std::string many;
  for (int n = 0; n < 64; ++n) many += "[prompt.p" + std::to_string(n) + "]\nsystem = 'x'\n";
  CHECK(after(many) == after(""));
  CHECK(after(many + "[prompt.more]\nsystem = 'x'\n") ==
        ":129: [prompt.more]: there are 64 prompts, no more may be");
}
