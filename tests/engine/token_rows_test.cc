// Rows of a table that is far larger than what may be read of it.
#include "daemon/engine/token_rows.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/model/gguf_bytes.h"

using namespace facet;
using engine::TokenRows;
using model::GgufFile;
using model::GgufTensor;

namespace {

namespace fs = std::filesystem;

struct Folder {
  Folder() {
    char name[] = "/tmp/facet-rows-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path); }
  std::string path;
};

// Memory of this process that is no file's.
uint64_t anonymous_bytes() {
  std::ifstream rollup("/proc/self/smaps_rollup");
  uint64_t kib = 0;
  for (std::string word; rollup >> word;) {
    if (word == "Anonymous:" && rollup >> kib) return kib * 1024;
  }
  FAIL("the kernel does not count anonymous memory");
  return 0;
}

// Bytes of a tensor that the system holds in memory.
uint64_t resident_bytes(const GgufTensor& tensor) {
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(tensor.data.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(tensor.data.data() + tensor.data.size());
  std::vector<unsigned char> pages((end - begin + page - 1) / page);
  REQUIRE(mincore(reinterpret_cast<void*>(begin), end - begin, pages.data()) == 0);
  return page *
         static_cast<uint64_t>(std::count_if(pages.begin(), pages.end(), [](auto p) { return p & 1; }));
}

}  // namespace

TEST_CASE("of a table of 1 GB the rows of a batch are read, and no other is read or copied") {
  // As wide as that of E2B, in BF16, all of it zero: the file takes no place on the disk.
  constexpr uint64_t kWidth = 35 * 256, kRowBytes = 2 * kWidth, kTokens = 60000;
  constexpr uint32_t kRows = 64;
  Folder folder;
  const std::string path = folder.path + "/table.gguf";
  test::write_file(path,
                   test::GgufBytes().tensor_entry("table", {kWidth, kTokens}, FACET_TYPE_BF16, 0).str());
  REQUIRE(truncate(path.c_str(), static_cast<off_t>(4096 + kRowBytes * kTokens)) == 0);
  auto file = GgufFile::open(path);
  REQUIRE(file.ok());
  const GgufTensor& table = *file->tensor("table");
  REQUIRE(table.data.size() == kRowBytes * kTokens);
  std::vector<int32_t> tokens;
  for (uint32_t row = 0; row < kRows; ++row) tokens.push_back(static_cast<int32_t>(row * 937 + 11));
  // The first element of one row is 1.5.
  const auto begin = static_cast<uint64_t>(table.data.data() - file->mapping(0).data());
  std::fstream(path, std::ios::binary | std::ios::in | std::ios::out)
      .seekp(static_cast<std::streamoff>(begin + static_cast<uint64_t>(tokens[5]) * kRowBytes))
      .write("\xC0\x3F", 2);

  const uint64_t resident = resident_bytes(table), anonymous = anonymous_bytes();
  TokenRows rows(table, 3, kRows);
  const facet_input input = rows.fill(tokens);
  const uint64_t private_growth = anonymous_bytes() - anonymous, read = resident_bytes(table) - resident;
  CHECK(static_cast<int64_t>(private_growth) <
        static_cast<int64_t>(TokenRows::bytes(table, kRows) + (8u << 20)));
  // A page or so more than each row, and what the kernel reads with it where it does not heed the advice.
  CHECK(read >= (kRows - 1) * kRowBytes);
  CHECK(read < 64u << 20);

  CHECK(input.port == 3);
  const auto* elements = static_cast<const float*>(input.data);
  for (uint32_t row = 0; row < kRows; ++row) CHECK(elements[row * kWidth] == (row == 5 ? 1.5f : 0.0f));
}
