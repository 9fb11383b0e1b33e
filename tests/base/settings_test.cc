#include "daemon/base/settings.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

namespace settings = facet::settings;

namespace {

struct Values {
  std::string socket = "/run/a";
  std::vector<std::string> models;
  bool fast = false;
  uint32_t threads = 0;
  uint64_t cache_bytes = 1 << 30;
  std::string cache = "f16";
  double ratio = 1;
  settings::Named named;

  settings::Table table() {
    return {
        {"", "socket", "PATH", "where clients connect", &socket},
        {"", "model", "PATH", "a model", &models, settings::Place::kFlag},
        {"", "fast", "", "hurry", &fast},
        {"engine", "threads", "N", "how many", &threads, settings::Place::kAnywhere, 0, 64},
        {"engine", "cache-bytes", "BYTES", "of all pages", &cache_bytes},
        {"engine",
         "cache",
         "TYPE",
         "of keys and values",
         &cache,
         settings::Place::kAnywhere,
         0,
         0,
         {"f16", "f32"}},
        {"engine", "ratio", "NUMBER", "of a to b", settings::Decimal{&ratio, 0.5, 2}},
        {"model", "path", "PATH", "the model's file", &named, settings::Place::kFile},
    };
  }
};

class File {
 public:
  explicit File(const std::string& text) {
    char name[] = "/tmp/facet-settings-XXXXXX";
    ::close(mkstemp(name));
    path = name;
    std::ofstream(path) << text;
  }
  ~File() { ::unlink(path.c_str()); }
  std::string path;
};

std::optional<int> run(Values& values, std::vector<const char*> words) {
  words.insert(words.begin(), "prog");
  settings::Program program{"prog", "1", "a test", "/nonexistent/prog.toml"};
  return settings::parse(program, values.table(), static_cast<int>(words.size()), words.data());
}

std::string error_of(const std::string& toml) {
  File file(toml);
  Values values;
  auto read = settings::read_file(values.table(), file.path);
  return read ? "" : read.error().message.substr(file.path.size());
}

}  // namespace

TEST_CASE("settings: flags override the file, and both override the default") {
  File file(
      "socket = '/run/b'\nfast = true\n[engine]\nthreads = 3\ncache_bytes = '2G'\n[model.small]\npath = "
      "'/m'\n");
  Values values;
  CHECK(!run(values, {"--config", file.path.c_str(), "--threads", "5", "--model", "x", "--model", "y",
                      "--cache=f32", "--ratio=0.75"}));
  CHECK(values.socket == "/run/b");
  CHECK(values.fast);
  CHECK(values.threads == 5);
  CHECK(values.cache_bytes == 2ull << 30);
  CHECK(values.cache == "f32");
  CHECK(values.ratio == 0.75);
  CHECK(values.models == std::vector<std::string>{"x", "y"});
  CHECK(values.named == settings::Named{{"small", "/m"}});
}

TEST_CASE("settings: a config file that is named must be there, the default one need not") {
  Values values;
  CHECK(!run(values, {}));
  CHECK(run(values, {"--config", "/nonexistent/a.toml"}) == 2);
}

TEST_CASE("settings: what is wrong in a file is named with its line") {
  CHECK(error_of("socket = '/a'\nsockte = '/b'\n") == ":2: unknown setting 'sockte'");
  CHECK(error_of("[engine]\nthreads = 65\n") == ":2: threads: takes a number from 0 to 64, not '65'");
  CHECK(error_of("[engine]\nthreads = -1\n").find("not '-1'") != std::string::npos);
  CHECK(error_of("[engine]\ncache = 'f8'\n") == ":2: cache: takes one of f16, f32, not 'f8'");
  CHECK(error_of("fast = 'yes'\n") == ":1: fast: takes true or false, not 'yes'");
  CHECK(error_of("[engine]\nratio = 2.5\n") == ":2: ratio: takes a number from 0.5 to 2, not '2.5'");
  CHECK(error_of("fast = 1.5\n").find("fast takes") != std::string::npos);
  CHECK(error_of("socket = ['a', 'b']\n") == ":1: socket takes one value, not a list");
  CHECK(error_of("model = 3\n") == ":1: unknown setting 'model'");
  CHECK(error_of("[model.a]\nfile = '/m'\n") == ":2: unknown setting 'file' in [model.a]");
  CHECK(error_of("[model.a]\n") == ":1: [model.a] needs a text 'path'");
  CHECK(error_of("[model]\na = 1\n").find("should be a table [model.a]") != std::string::npos);
  CHECK(error_of("[limits]\na = 1\n") == ":1: unknown setting 'limits'");
  CHECK(error_of("socket = \n").substr(0, 3) == ":1:");
}

TEST_CASE("settings: wrong flags are usage errors") {
  Values values;
  CHECK(run(values, {"--threads", "many"}) == 2);
  CHECK(run(values, {"--cache-bytes", "99999999999999999999"}) == 2);
  CHECK(run(values, {"--cache-bytes", "99999999999G"}) == 2);
  CHECK(run(values, {"--cache-bytes", "1T"}) == 2);
  CHECK(run(values, {"--unknown"}) == 2);
  CHECK(run(values, {"--help"}) == 0);
}

TEST_CASE("settings: the manual is a config file that changes nothing") {
  Values values;
  const std::string text = settings::manual({"prog", "1", "a test", "x"}, values.table());
  CHECK(text.find("# cache_bytes = \"1024M\"") != std::string::npos);
  CHECK(text.find("# [model.NAME]") != std::string::npos);
  CHECK(text.find("a model\n") == std::string::npos);  // a flag only
  CHECK(error_of(text) == "");
}

TEST_CASE("settings: lines carry what a table holds to another") {
  Values values;
  values.models = {"a", "b c"};
  values.fast = true;
  values.cache = "f32";
  values.ratio = 1.1;
  values.socket = "";
  Values others;
  others.socket = "/other";
  CHECK(settings::take_lines(others.table(), settings::lines(values.table())));
  CHECK(others.models == values.models);
  CHECK(others.fast);
  CHECK(others.socket.empty());
  CHECK(others.cache == "f32");
  CHECK(others.ratio == 1.1);
  CHECK(others.cache_bytes == values.cache_bytes);
}

TEST_CASE("settings: a wrong line is named") {
  Values values;
  const auto refused = [&](const std::string& line) {
    auto taken = settings::take_lines(values.table(), {"threads=2", line});
    return taken ? "" : taken.error().message;
  };
  CHECK(refused("speed=3") == "unknown setting 'speed=3'");
  CHECK(refused("threads") == "unknown setting 'threads'");
  CHECK(refused("") == "unknown setting ''");
  CHECK(refused("threads=65") == "threads: takes a number from 0 to 64, not '65'");
  CHECK(values.threads == 2);
}
