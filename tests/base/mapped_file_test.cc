#include "daemon/base/mapped_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
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

TEST_CASE("rows are expected in whole pages of the part, and nothing else is read in another way") {
  TempFolder folder;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::ofstream(folder.path + "/a") << std::string(8 * page, 'x');
  auto file = MappedFile::open(folder.path + "/a");
  REQUIRE(file.ok());
  facet::expect_rows(file->bytes().subspan(page + 1, 4 * page));
  facet::expect_rows(file->bytes().subspan(7 * page + 1, page - 2));  // no whole page
  const auto begin = reinterpret_cast<uintptr_t>(file->bytes().data());
  size_t random = 0;  // bytes of the file that have the flag
  uintptr_t first = 0, last = 0;
  std::ifstream smaps("/proc/self/smaps");
  for (std::string line; std::getline(smaps, line);) {
    uintptr_t from, to;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) first = from, last = to;
    if (line.rfind("VmFlags:", 0) != 0 || first < begin || last > begin + 8 * page) continue;
    if (line.find(" rr") != std::string::npos) random += last - first;
  }
  CHECK(random == 3 * page);
  CHECK(std::count(file->bytes().begin(), file->bytes().end(), std::byte{'x'}) ==
        8 * static_cast<long>(page));
}
