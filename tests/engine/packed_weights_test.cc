// The folder of packed copies: when one is made, what it is called, and that the folder stays within its
// bound.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <span>
#include <thread>

#include "daemon/base/unique_fd.h"
#include "daemon/engine/packed_weights.h"
#include "daemon/model/model.h"
#include "plugins/host/discovery.h"
#include "tests/test_models.h"

using namespace facet;
using engine::PackedWeights;
using engine::PackingOptions;
using Make = engine::PackingOptions::Make;

namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/facet-packed-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::set<std::string> names() const {
    std::set<std::string> all;
    for (const auto& entry : fs::directory_iterator(path)) all.insert(entry.path().filename().string());
    return all;
  }
  void put(const std::string& name, size_t bytes, int hours_ago) const {
    std::ofstream(path + "/" + name, std::ios::binary) << std::string(bytes, 'x');
    age(name, hours_ago);
  }
  void age(const std::string& name, int hours_ago) const {
    fs::last_write_time(path + "/" + name, fs::file_time_type::clock::now() - std::chrono::hours(hours_ago));
  }
  // As who writes a part does.
  UniqueFd lock(const std::string& name) const {
    UniqueFd fd(::open((path + "/" + name).c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(::flock(fd.get(), LOCK_EX | LOCK_NB) == 0);
    return fd;
  }
  std::string path;
};

template <typename T>
T need(Result<T> result) {
  REQUIRE_MESSAGE(result.ok(), result.error().message);
  return std::move(result).value();
}

// A model on the CPU backend.
struct Loaded {
  explicit Loaded(const std::string& path = test::tiny_model_path("gemma3-q4_0"),
                  const std::string& backend = "onednn")
      : model(need(model::Model::load(path))),
        device(need(plugins::open_device(backend, 1))),
        program(need(device.create_program(model->program().desc(FACET_TYPE_F16)))) {}

  std::unique_ptr<PackedWeights> pack(const PackingOptions& options) {
    return std::make_unique<PackedWeights>(program, model->file(), "onednn", options);
  }
  std::shared_ptr<const model::Model> model;
  plugins::Device device;
  plugins::Program program;
};

// Whether another program finds its copy there.
bool is_packed(const std::string& folder) {
  Loaded again;
  std::error_code not_yet;
  for (const auto& entry : fs::directory_iterator(folder, not_yet)) {
    if (need(again.program.pack(entry.path().string()))) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("a copy is made first, or in the background, or not at all") {
  for (Make make : {Make::kFirst, Make::kBackground, Make::kNever}) {
    Folder folder;
    Loaded loaded;
    REQUIRE(loaded.program.packed_bytes() != 0);
    auto packed = loaded.pack({folder.path + "/new", 1 << 30, make});
    if (make == Make::kNever) {
      CHECK(folder.names().empty());
      continue;
    }
    for (int i = 0; i < 3000 && !is_packed(folder.path + "/new"); ++i) {
      REQUIRE(make == Make::kBackground);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    CHECK(is_packed(folder.path + "/new"));
  }
}

TEST_CASE("a copy belongs to a model's files and to a backend, and another model's is another") {
  Folder folder;
  Loaded loaded, same;
  REQUIRE(loaded.program.packed_bytes() != 0);
  loaded.pack({folder.path, 1 << 30, Make::kFirst});
  const auto one = folder.names();
  REQUIRE(one.size() == 1);
  CHECK(one.begin()->ends_with("-onednn.packed"));
  same.pack({folder.path, 1 << 30, Make::kFirst});
  CHECK(folder.names() == one);

  const std::string copy = folder.path + "/copy.gguf";
  fs::copy_file(test::tiny_model_path("gemma3-q4_0"), copy);
  Loaded another(copy);
  another.pack({folder.path, 1 << 30, Make::kFirst});
  CHECK(folder.names().size() == 3);  // with the model
}

TEST_CASE("a header that changed finds no old copy, even where the system tells no difference") {
  Folder folder;
  const std::string copy = folder.path + "/copy.gguf";
  fs::copy_file(test::tiny_model_path("gemma3-q4_0"), copy);
  Loaded loaded(copy);
  const model::GgufFile& file = loaded.model->file();
  const std::string before = engine::packed_weights_path(folder.path, file, "onednn");
  const std::string identity = file.identity();

  // What the system said when the file was opened stays; the map shows the change.
  const std::span<const std::byte> header = file.headers()[0];
  const std::byte* last = header.data() + header.size() - 1;
  const auto change = [&](char value) {
    std::fstream stream(copy, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekp(last - file.mapping(0).data()).put(value);
  };
  const char old = static_cast<char>(*last);
  change(static_cast<char>(old ^ 1));
  REQUIRE(static_cast<char>(*last) != old);
  CHECK(file.identity() == identity);
  CHECK(engine::packed_weights_path(folder.path, file, "onednn") != before);
  change(old);
  CHECK(engine::packed_weights_path(folder.path, file, "onednn") == before);
}

TEST_CASE("the copies that were not used for the longest time make room") {
  Loaded loaded;
  const uint64_t bytes = loaded.program.packed_bytes();
  REQUIRE(bytes != 0);
  Folder folder;
  folder.put("old.packed", 1000, 3);
  folder.put("crashed.packed.part", 1000, 2);
  folder.put("new.packed", 1000, 1);
  folder.put("notes.txt", 1000, 9);
  loaded.pack({folder.path, bytes + 2000, Make::kFirst});
  const auto names = folder.names();
  CHECK(names.count("old.packed") == 0);
  CHECK(names.count("crashed.packed.part") == 1);
  CHECK(names.count("new.packed") == 1);
  CHECK(names.count("notes.txt") == 1);
  CHECK(names.size() == 4);

  // A copy that is found is used now.
  for (const std::string& name : names) folder.age(name, 5);
  Loaded other;
  other.pack({folder.path, bytes + 2000, Make::kFirst});
  CHECK(folder.names() == names);
  int used_now = 0;
  for (const std::string& name : names) {
    const auto used = fs::last_write_time(folder.path + "/" + name);
    if (used < fs::file_time_type::clock::now() - std::chrono::hours(1)) continue;
    CHECK(name.ends_with("-onednn.packed"));
    ++used_now;
  }
  CHECK(used_now == 1);
}

TEST_CASE("a bound that became lower is kept although nothing is made, but for the copy that is found") {
  Loaded loaded;
  const uint64_t bytes = loaded.program.packed_bytes();
  REQUIRE(bytes != 0);
  Folder folder;
  loaded.pack({folder.path, 1 << 30, Make::kFirst});
  const std::set<std::string> own = folder.names();
  REQUIRE(own.size() == 1);
  folder.age(*own.begin(), 9);
  folder.put("older.packed", 1000, 2);
  folder.put("newer.packed", 1000, 1);
  const auto names_after = [&](uint64_t bound, Make make) {
    Loaded again;
    again.pack({folder.path, bound, make});
    auto names = folder.names();
    CHECK(names.erase(*own.begin()) == 1);
    return names;
  };
  using Names = std::set<std::string>;
  // Who only looks for a copy removes none.
  CHECK(names_after(1, Make::kNever) == Names{"older.packed", "newer.packed"});
  CHECK(names_after(bytes + 2000, Make::kBackground) == Names{"older.packed", "newer.packed"});
  CHECK(names_after(bytes + 1999, Make::kBackground) == Names{"newer.packed"});
  CHECK(names_after(1, Make::kBackground).empty());
}

TEST_CASE("a bound that allows no copy of this model still holds for those of others") {
  Loaded loaded;
  const uint64_t bytes = loaded.program.packed_bytes();
  REQUIRE(bytes > 1);
  Folder folder;
  folder.put("older.packed", bytes, 2);
  folder.put("newer.packed", bytes - 1, 1);
  loaded.pack({folder.path, bytes - 1, Make::kFirst});
  CHECK(folder.names() == std::set<std::string>{"newer.packed"});
}

TEST_CASE("what another program is writing is never removed, and counts") {
  Loaded loaded;
  const uint64_t bytes = loaded.program.packed_bytes();
  REQUIRE(bytes != 0);
  Folder folder;
  using Names = std::set<std::string>;
  folder.put("written.packed.part", 1000, 2);
  folder.put("crashed.packed.part", 1000, 1);
  UniqueFd writer = folder.lock("written.packed.part");
  loaded.pack({folder.path, bytes + 999, Make::kFirst});
  CHECK(folder.names() == Names{"written.packed.part"});
  Loaded again;
  again.pack({folder.path, bytes + 1000, Make::kFirst});
  CHECK(folder.names().size() == 2);
  again.pack({folder.path, bytes, Make::kFirst});  // is found
  CHECK(folder.names().size() == 2);
  writer.reset();
  again.pack({folder.path, bytes, Make::kFirst});
  CHECK(folder.names().count("written.packed.part") == 0);
  CHECK(folder.names().size() == 1);
}

TEST_CASE("a copy that another program is writing is waited for, and has the room that this one would take") {
  Loaded loaded;
  const uint64_t bytes = loaded.program.packed_bytes();
  REQUIRE(bytes != 0);
  Folder folder;
  const std::string part =
      fs::path(engine::packed_weights_path(folder.path, loaded.model->file(), "onednn") + ".part").filename();
  folder.put(part, bytes, 1);
  UniqueFd writer = folder.lock(part);
  Loaded first;
  first.pack({folder.path, bytes, Make::kFirst});
  CHECK(folder.names() == std::set<std::string>{part});
  auto waits = loaded.pack({folder.path, bytes, Make::kBackground});
  writer.reset();  // as if it had crashed
  for (int i = 0; i < 3000 && !is_packed(folder.path); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(is_packed(folder.path));
}

TEST_CASE("no copy is made where the bound or the folder does not allow it") {
  Loaded loaded;
  REQUIRE(loaded.program.packed_bytes() != 0);
  Folder folder;
  loaded.pack({folder.path, loaded.program.packed_bytes() - 1, Make::kFirst});
  CHECK(folder.names().empty());
  folder.put("file", 1, 0);
  loaded.pack({folder.path + "/file", 1 << 30, Make::kFirst});  // no folder
  CHECK(folder.names().size() == 1);
  loaded.pack({"", 1 << 30, Make::kFirst});
}

TEST_CASE("a backend that packs nothing is left alone") {
  Folder folder;
  Loaded loaded(test::tiny_model_path("gemma3-q4_0"), "reference");
  CHECK(loaded.program.packed_bytes() == 0);
  loaded.pack({folder.path, 1 << 30, Make::kFirst});
  CHECK(folder.names().empty());
}

TEST_CASE("the setting names a folder, none, or that of the system or the user") {
  struct Environment {
    Environment(const char* name, const char* value) : name(name) {
      if (const char* before = std::getenv(name)) old = before;
      value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
    }
    ~Environment() { old.empty() ? ::unsetenv(name) : ::setenv(name, old.c_str(), 1); }
    const char* name;
    std::string old;
  };
  CHECK(engine::packed_weights_folder("none").empty());
  CHECK(engine::packed_weights_folder("/srv/copies") == "/srv/copies");
  const Environment system("CACHE_DIRECTORY", nullptr), user("XDG_CACHE_HOME", nullptr),
      home("HOME", "/home/a");
  CHECK(engine::packed_weights_folder("auto") == "/home/a/.cache/facet");
  const Environment given("XDG_CACHE_HOME", "/b");
  CHECK(engine::packed_weights_folder("auto") == "/b/facet");
  const Environment service("CACHE_DIRECTORY", "/var/cache/facet-engine");
  CHECK(engine::packed_weights_folder("auto") == "/var/cache/facet-engine");
}
