#include "daemon/base/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

using facet::MappedFile;

namespace {

struct TempFolder {
  std::string path;
  TempFolder() {
    char name[] = "/tmp/facet-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~TempFolder() { std::system(("rm -rf " + path).c_str()); }
};

}  // namespace

TEST_CASE("a mapped file shows its bytes and stays valid when its owner moves") {
  TempFolder folder;
  std::ofstream(folder.path + "/a") << "hello";
  auto file = MappedFile::open(folder.path + "/a");
  REQUIRE(file.ok());
  auto bytes = file->bytes();
  MappedFile moved = std::move(*file);
  CHECK(std::memcmp(bytes.data(), "hello", 5) == 0);
  CHECK(moved.bytes().data() == bytes.data());
  CHECK(moved.bytes().size() == 5);
}

TEST_CASE("what is not a regular file with content is refused by name") {
  TempFolder folder;
  std::string missing = folder.path + "/missing";
  CHECK(MappedFile::open(missing).error().code == FACET_NOT_FOUND);
  CHECK(MappedFile::open(missing).error().message.find(missing) != std::string::npos);

  std::ofstream(folder.path + "/empty").flush();
  CHECK(MappedFile::open(folder.path + "/empty").error().code == FACET_MALFORMED);
  CHECK(MappedFile::open(folder.path).error().code == FACET_MALFORMED);

  std::string fifo = folder.path + "/fifo";
  REQUIRE(mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(MappedFile::open(fifo).error().code == FACET_MALFORMED);
}
