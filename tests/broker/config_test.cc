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

// What facetd's config is after it read `text`, as its manual shows it; or the error.
std::string after(const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() / ("facet-config-" + std::to_string(::getpid()));
  std::ofstream(path) << text;
  Config config;
  config.models.folder = "/var/lib/facet/models";
  const auto read = settings::read_file(config_table(config), path.string());
  std::filesystem::remove(path);
  if (!read) return read.error().message;
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

  const std::string on = std::regex_replace(text, std::regex("\n# ([a-z_]+ = |\\[model)"), "\n$1");
  REQUIRE(on.find("\ncache_bytes = ") != on.npos);
  REQUIRE(on.find("\n[model.NAME]") != on.npos);
  CHECK(after(on) == defaults);
  CHECK(after(on + "unknown = 1\n").find("unknown") != std::string::npos);
}
