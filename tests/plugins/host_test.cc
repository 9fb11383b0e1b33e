#include "plugins/host/backend.h"

#include <doctest/doctest.h>
#include <unistd.h>
#include <facet/backend.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "plugins/host/discovery.h"
#include "tests/backends/sketch.h"

using namespace facet;
using namespace facet::plugins;
namespace fs = std::filesystem;

namespace {

// A folder of plugins that FACET_PLUGIN_PATH names while it exists.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/facet-test-XXXXXX";
    path_ = mkdtemp(name);
    ::setenv("FACET_PLUGIN_PATH", path_.c_str(), 1);
  }
  ~Folder() {
    ::unsetenv("FACET_PLUGIN_PATH");
    fs::remove_all(path_);
  }
  std::string file(const std::string& backend) const { return path_ + "/facet-backend-" + backend + ".so"; }
  void write(const std::string& backend, const std::string& bytes) const {
    std::ofstream(file(backend), std::ios::binary) << bytes;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The built reference plugin and the broken ones.
std::string reference_file() {
  for (const BackendFile& file : list_backends()) {
    if (file.name == "reference") return file.path;
  }
  return {};
}

void check_refused(const std::string& name, facet_status code, const std::string& reason) {
  CAPTURE(name);
  ::setenv("FACET_PLUGIN_PATH", FACET_BROKEN_FOLDER, 1);
  auto backend = open_backend(name);
  ::unsetenv("FACET_PLUGIN_PATH");
  REQUIRE(!backend.ok());
  CAPTURE(backend.error().message);
  CHECK(backend.error().code == code);
  CHECK(backend.error().message.find("facet-backend-" + name + ".so") != std::string::npos);
  CHECK(backend.error().message.find(reason) != std::string::npos);
}

}  // namespace

TEST_CASE("a backend's name is that of its file") {
  CHECK(backend_name_of("/x/facet-backend-onednn.so") == "onednn");
  CHECK(backend_name_of("facet-backend-a_b-9.so") == "a_b-9");
  for (const char* path : {"", "/", "facet-backend-.so", "facet-backend-A.so", "facet-backend-a.so.1",
                           "libfacet-backend-a.so", "facet-backend-a b.so", "facet-backend-"}) {
    CHECK(backend_name_of(path).empty());
  }
}

TEST_CASE("programs find the plugins of their own build tree") {
  const std::string file = reference_file();
  REQUIRE(!file.empty());
  auto backend = Backend::load(file);
  REQUIRE(backend.ok());
  CHECK(backend->name() == "reference");
  CHECK(backend->path() == file);
  REQUIRE(backend->device_count() == 1);
  CHECK(std::string(backend->describe(0)->name) == "cpu");
  CHECK(backend->describe(1).error().code == FACET_NOT_FOUND);
  auto device = backend->open(0, 0);
  REQUIRE(device.ok());
  CHECK(device->numerics() == "reference/1");
  CHECK(device->backend_name() == "reference");
  auto missing = backend->open(1, 0);
  REQUIRE(!missing.ok());
  CHECK(missing.error().code == FACET_NOT_FOUND);
  CHECK(missing.error().message == "reference: there is no device 1");
}

TEST_CASE("FACET_PLUGIN_PATH replaces the folders; of two files with one name the first counts") {
  const std::string reference = reference_file();
  Folder first, second;
  second.write("b", "");
  second.write("a", "");
  first.write("b", "");
  std::ofstream(first.path() + "/readme.txt") << "no plugin";
  ::setenv("FACET_PLUGIN_PATH", (":" + first.path() + "::/nowhere:" + second.path()).c_str(), 1);
  const std::vector<BackendFile> found = list_backends();
  REQUIRE(found.size() == 2);
  CHECK(found[0].path == second.file("a"));
  CHECK(found[1].path == first.file("b"));
  ::setenv("FACET_PLUGIN_PATH", "", 1);
  CHECK(reference_file() == reference);
}

TEST_CASE("a name that no file has is not found, one that cannot be is invalid") {
  Folder empty;
  auto missing = open_backend("vulkan");
  CHECK(missing.error().code == FACET_NOT_FOUND);
  CHECK(missing.error().message.find("'vulkan' in " + empty.path()) != std::string::npos);
  CHECK(open_backend("../evil").error().code == FACET_INVALID_ARGUMENT);
  CHECK(open_device("", 0).error().code == FACET_NOT_FOUND);
}

TEST_CASE("broken plugins are refused with the file and the reason") {
  check_refused("symbol", FACET_MALFORMED, "exports no facet_backend_entry");
  check_refused("null", FACET_VERSION_MISMATCH, "speaks no version");
  check_refused("version", FACET_VERSION_MISMATCH, "version 2");
  check_refused("zero", FACET_VERSION_MISMATCH, "version 0");
  check_refused("function", FACET_MALFORMED, "no cache_page_copy");
  check_refused("size", FACET_MALFORMED, "bytes");
  check_refused("name", FACET_MALFORMED, "'somebody-else'");

  Folder folder;
  folder.write("text", "this is not an ELF file");
  auto text = open_backend("text");
  CHECK(text.error().code == FACET_MALFORMED);
  CHECK(text.error().message.find(folder.file("text")) != std::string::npos);
  folder.write("empty", "");
  CHECK(open_backend("empty").error().code == FACET_MALFORMED);
  fs::create_directory(folder.file("folder"));
  CHECK(open_backend("folder").error().code == FACET_MALFORMED);
}

TEST_CASE("a plugin whose table ends before the newest functions is used without them") {
  auto older = Backend::load(FACET_BROKEN_FOLDER "/facet-backend-older.so");
  REQUIRE(older.ok());
  auto device = older->open(0, 0);
  REQUIRE(device.ok());
  device->set_nice(5);
  auto reference = Backend::load(reference_file())->open(0, 0);
  REQUIRE(reference.ok());
  reference->set_nice(5);  // has the function, and no threads to set back
}

namespace {

// A device that says nothing of Q8_0 caches.
class Plain final : public plugin::Device {
 public:
  const char* numerics() const override { return "plain"; }
  std::unique_ptr<plugin::Program> create_program(plugin::Description) override {
    throw plugin::Failure(FACET_INTERNAL, "create_program");
  }
  uint64_t cache_bytes(const plugin::Layout&, const std::vector<uint32_t>&) const override { return 1; }
  std::unique_ptr<plugin::Cache> create_cache(const plugin::Layout&, const std::vector<uint32_t>&) override {
    throw plugin::Failure(FACET_INTERNAL, "create_cache");
  }
};

struct PlainBackend {
  static constexpr const char* kName = "plain";
  static constexpr const char* kVersion = "1";
  static uint32_t device_count() { return 1; }
  static facet_device_info describe(uint32_t) { return {}; }
  static std::unique_ptr<plugin::Device> open(uint32_t, const facet_device_options&, plugin::Log) {
    return std::make_unique<Plain>();
  }
};

}  // namespace

TEST_CASE("a backend that lacks a cache's type refuses it by name") {
  const facet_backend* table = plugin::detail::Table<PlainBackend>::entry(nullptr, 1, FACET_ABI_VERSION);
  facet_device_options options{};
  options.size = sizeof options;
  facet_device* device = nullptr;
  facet_error error{};
  error.size = sizeof error;
  REQUIRE(table->device_open(0, &options, &device, &error) == FACET_OK);

  test::Sketch sketch;
  sketch.layer(sketch.group(32), 1, 32, 32);
  const uint32_t key = sketch.input("key", 32);
  sketch.op(FACET_OP_CACHE_APPEND, {key, key}, {}, FACET_NONE).p.append.layer = 0;
  sketch.output("key", key);
  const uint32_t pages = 1;
  uint64_t bytes = 0;
  facet_program* program = nullptr;
  facet_cache* cache = nullptr;
  for (uint32_t type : {FACET_TYPE_F32, FACET_TYPE_F16}) {
    sketch.cache_type = type;
    const facet_program_desc desc = sketch.desc();
    CHECK(table->cache_bytes(device, desc.cache, &pages, &bytes, &error) == FACET_OK);
    CHECK(table->cache_create(device, desc.cache, &pages, &cache, &error) == FACET_INTERNAL);
    CHECK(table->program_create(device, &desc, &program, &error) == FACET_INTERNAL);
  }
  sketch.cache_type = FACET_TYPE_Q8_0;
  const facet_program_desc desc = sketch.desc();
  auto refused = [&](facet_status status) {
    CHECK(status == FACET_UNSUPPORTED);
    CHECK(std::string(error.message) == "a cache of Q8_0");
    error.message[0] = '\0';
  };
  refused(table->cache_bytes(device, desc.cache, &pages, &bytes, &error));
  refused(table->cache_create(device, desc.cache, &pages, &cache, &error));
  refused(table->program_create(device, &desc, &program, &error));
  table->device_close(device);
}

TEST_CASE("without a name the next backend is tried when one is broken, missing or without a device") {
  const std::string reference = reference_file();
  Folder folder;
  fs::copy_file(reference, folder.file("reference"));
  CHECK(open_backend("")->name() == "reference");
  folder.write("onednn", "broken");
  CHECK(open_backend("")->name() == "reference");
  CHECK(open_device("", 1)->backend_name() == "reference");
  CHECK(!open_backend("onednn").ok());  // who asks for it by name gets no other

  fs::remove(folder.file("reference"));
  auto none = open_device("", 1);
  CHECK(none.error().code == FACET_NOT_FOUND);
  CHECK(none.error().message.find(folder.file("onednn")) != std::string::npos);

  ::setenv("FACET_PLUGIN_PATH", FACET_BROKEN_FOLDER, 1);
  CHECK(open_backend("nodevice").ok());
  CHECK(open_device("nodevice", 1).error().message.find("no device") != std::string::npos);
}

TEST_CASE("messages are cut to the caller's room between characters, and exceptions become codes") {
  using plugin::detail::guard;
  facet_error error{};
  error.size = offsetof(facet_error, message) + 6;
  const auto failure = [] { throw plugin::Failure(FACET_UNSUPPORTED, "abcd\xc3\xa9"); };
  CHECK(guard(&error, failure) == FACET_UNSUPPORTED);
  CHECK(std::string(error.message) == "abcd");
  error.size = sizeof error;
  CHECK(guard(&error, failure) == FACET_UNSUPPORTED);
  CHECK(std::string(error.message) == "abcd\xc3\xa9");
  CHECK(guard(nullptr, failure) == FACET_UNSUPPORTED);
  CHECK(guard(&error, [] { throw std::bad_alloc(); }) == FACET_EXHAUSTED);
  CHECK(guard(&error, [] { throw 7; }) == FACET_INTERNAL);
  CHECK(guard(&error, [] { throw std::runtime_error("oh"); }) == FACET_INTERNAL);
  CHECK(std::string(error.message) == "oh");
  CHECK(guard(&error, [] { throw plugin::Failure(FACET_OK, "not a failure"); }) == FACET_INTERNAL);
}
