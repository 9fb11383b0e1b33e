#include "daemon/model/gguf.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>

#include "tests/model/gguf_bytes.h"
#include "tests/test_models.h"

namespace test = facet::test;
using facet::Result;
using facet::model::GgufFile;
using facet::model::GgufTensor;
using facet::model::GgufType;
using facet::test::as_bytes;
using facet::test::Bytes;
using facet::test::GgufBytes;

namespace {

// One key of every type, one array of every kind, three tensors, no padding at the end.
GgufBytes small_file() {
  GgufBytes file;
  file.number<uint8_t>("u8", GgufType::kUint8, 200).number<int8_t>("i8", GgufType::kInt8, -3);
  file.number<uint16_t>("u16", GgufType::kUint16, 40000).number<int16_t>("i16", GgufType::kInt16, -300);
  file.u32("u32", 4000000000u).number<int32_t>("i32", GgufType::kInt32, -70000);
  file.number<uint64_t>("u64", GgufType::kUint64, 1ull << 40)
      .number<int64_t>("i64", GgufType::kInt64, -1ll << 40);
  file.f32("f32", 1.5f)
      .number<double>("f64", GgufType::kFloat64, 0.25)
      .boolean("yes", true)
      .boolean("no", false);
  file.string("name", "a name").string("empty", "");
  file.numbers<int32_t>("ints", GgufType::kInt32, {1, -2, 3})
      .numbers<float>("floats", GgufType::kFloat32, {0.5f, -1});
  file.numbers<uint8_t>("bools", GgufType::kBool, {1, 0}).strings("strings", {"one", "", "three"});
  file.numbers<uint64_t>("none", GgufType::kUint64, {});
  file.f32_tensor("matrix", {3, 2}, {1, 2, 3, 4, 5, 6});
  file.tensor("blocks", {64, 1, 2}, FACET_TYPE_Q8_0, std::string(4 * 34, 'q'));
  file.f32_tensor("vector", {2}, {7, 8});
  return file;
}

// Parses a copy that ends where its heap block does, so that a sanitizer sees any byte read beyond.
Result<void> parse_alone(std::string_view bytes, const std::function<void(const GgufFile&)>& look = {}) {
  std::unique_ptr<std::byte[]> copy(new std::byte[bytes.size()]);
  if (!bytes.empty()) std::memcpy(copy.get(), bytes.data(), bytes.size());
  auto file = GgufFile::parse({copy.get(), bytes.size()}, "test.gguf");
  if (!file.ok()) return file.error();
  if (look) look(*file);
  return {};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/facet-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

}  // namespace

TEST_CASE("a file's metadata is found by key and converted without loss") {
  std::string bytes = small_file().str();
  auto opened = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(opened.ok());
  const GgufFile& file = *opened;
  CHECK(file.version() == 3);
  CHECK(file.entries().size() == 19);
  CHECK(file.entries()[0].key == "u8");

  CHECK(*file.u32("u8") == 200);
  CHECK(*file.i64("i8") == -3);
  CHECK(*file.u32("u16") == 40000);
  CHECK(*file.i64("i16") == -300);
  CHECK(*file.u32("u32") == 4000000000u);
  CHECK(*file.i64("i32") == -70000);
  CHECK(*file.i64("u64") == 1ll << 40);
  CHECK(*file.i64("i64") == -1ll << 40);
  CHECK(*file.f32("f32") == 1.5f);
  CHECK(*file.f32("f64") == 0.25f);
  CHECK(*file.boolean("yes"));
  CHECK(!*file.boolean("no"));
  CHECK(*file.string("name") == "a name");
  CHECK(*file.string("empty") == "");

  auto ints = file.integers("ints");
  REQUIRE(ints.ok());
  REQUIRE(ints->size() == 3);
  CHECK((*ints)[1] == -2);
  auto bools = file.integers("bools");
  REQUIRE(bools.ok());
  CHECK((*bools)[0] == 1);
  CHECK((*bools)[1] == 0);
  auto floats = file.floats("floats");
  REQUIRE(floats.ok());
  CHECK((*floats)[0] == 0.5f);
  CHECK((*floats)[1] == -1.0f);
  auto strings = file.strings("strings");
  REQUIRE(strings.ok());
  std::vector<std::string_view> seen;
  for (std::string_view s : *strings) seen.push_back(s);
  CHECK(seen == std::vector<std::string_view>{"one", "", "three"});
  CHECK(file.integers("none")->size() == 0);
}

TEST_CASE("a value that is missing, of another type or out of range is an error that names the key") {
  GgufBytes written = small_file();
  written.number<uint64_t>("huge", GgufType::kUint64, 1ull << 63);
  written.numbers<uint64_t>("huges", GgufType::kUint64, {1, 1ull << 63});
  written.number<double>("far", GgufType::kFloat64, 1e300)
      .numbers<double>("fars", GgufType::kFloat64, {1, -1e300});
  written.number<double>("infinite", GgufType::kFloat64, std::numeric_limits<double>::infinity());
  written.string("latin1", "\xE9t\xE9");
  std::string bytes = written.str();
  auto opened = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(opened.ok());
  const GgufFile& file = *opened;

  auto is = [](const auto& result, facet_status code, const std::string& part) {
    REQUIRE(!result.ok());
    INFO(result.error().message);
    CHECK(result.error().code == code);
    CHECK(contains(result.error().message, "test.gguf: "));
    CHECK(contains(result.error().message, part));
  };
  is(file.u32("absent"), FACET_NOT_FOUND, "key 'absent' is missing");
  is(file.strings("absent"), FACET_NOT_FOUND, "key 'absent' is missing");
  is(file.u32("i8"), FACET_MALFORMED, "key 'i8' holds a value that is no uint32");
  is(file.u32("u64"), FACET_MALFORMED, "'u64'");
  is(file.i64("huge"), FACET_MALFORMED, "'huge'");
  is(file.integers("huges"), FACET_MALFORMED, "'huges'");
  is(file.f32("far"), FACET_MALFORMED, "'far'");
  is(file.floats("fars"), FACET_MALFORMED, "'fars'");
  is(file.string("latin1"), FACET_MALFORMED, "key 'latin1' holds a value that is no UTF-8");
  is(file.u32("f32"), FACET_MALFORMED, "key 'f32' is float32, not an integer");
  is(file.u32("yes"), FACET_MALFORMED, "key 'yes' is bool, not an integer");
  is(file.u32("ints"), FACET_MALFORMED, "key 'ints' is an array of int32, not an integer");
  is(file.f32("u32"), FACET_MALFORMED, "not a float");
  is(file.boolean("u8"), FACET_MALFORMED, "not a bool");
  is(file.string("u8"), FACET_MALFORMED, "not a string");
  is(file.integers("u8"), FACET_MALFORMED, "not an array of integers");
  is(file.integers("floats"), FACET_MALFORMED, "not an array of integers");
  is(file.floats("ints"), FACET_MALFORMED, "not an array of floats");
  is(file.strings("ints"), FACET_MALFORMED, "not an array of strings");
  is(file.find_u32("name"), FACET_MALFORMED, "key 'name' is string");

  CHECK(std::isinf(*file.f32("infinite")));
  CHECK(!file.find_u32("absent")->has_value());
  CHECK(!file.find_string("absent")->has_value());
  CHECK(**file.find_u32("u8") == 200);
  CHECK(file.entry("absent") == nullptr);
}

TEST_CASE("tensors are found by name with their exact bytes") {
  std::string bytes = small_file().str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  REQUIRE(file->tensors().size() == 3);
  CHECK(file->tensors()[0].name == "matrix");

  const GgufTensor* matrix = file->tensor("matrix");
  REQUIRE(matrix != nullptr);
  CHECK(matrix->type == FACET_TYPE_F32);
  CHECK(matrix->dims_count == 2);
  CHECK(matrix->dims == std::array<uint64_t, 4>{3, 2, 1, 1});
  CHECK(matrix->rows() == 2);
  CHECK(matrix->elements() == 6);
  CHECK(matrix->row_bytes() == 12);
  const float expected[] = {1, 2, 3, 4, 5, 6};
  REQUIRE(matrix->data.size() == sizeof expected);
  CHECK(std::memcmp(matrix->data.data(), expected, sizeof expected) == 0);

  const GgufTensor* blocks = file->tensor("blocks");
  REQUIRE(blocks != nullptr);
  CHECK(blocks->data.size() == 4 * 34);
  CHECK(blocks->row_bytes() == 2 * 34);
  CHECK(blocks->data.front() == std::byte{'q'});
  CHECK(blocks->data.back() == std::byte{'q'});
  CHECK(file->tensor("vector")->data.size() == 8);
  CHECK(file->tensor("matri") == nullptr);
}

TEST_CASE("version 2, another alignment and a file without tensors are read") {
  GgufBytes file;
  file.version = 2;
  file.u32("general.alignment", 128);
  file.alignment = 128;
  file.f32_tensor("a", {1}, {1}).f32_tensor("b", {1}, {2});
  CHECK(parse_alone(file.str(), [](const GgufFile& f) {
          CHECK(f.tensor("b")->data.data() - f.tensor("a")->data.data() == 128);
        }).ok());
  CHECK(parse_alone(GgufBytes().u32("k", 1).str()).ok());
  CHECK(parse_alone(GgufBytes().str()).ok());
}

namespace {

struct Damage {
  std::string what;
  std::function<GgufBytes()> make;
  facet_status code;
  std::string message;
};

constexpr uint64_t kHuge = 1ull << 63;
constexpr uint32_t kF32 = FACET_TYPE_F32;

std::vector<Damage> damaged_headers() {
  auto header = [](std::string what, std::function<void(GgufBytes&)> damage, facet_status code,
                   std::string message) {
    auto make = [damage] {
      GgufBytes file = small_file();
      damage(file);
      return file;
    };
    return Damage{what, make, code, message};
  };
  return {
      header(
          "wrong magic", [](GgufBytes& f) { f.magic = "GGML"; }, FACET_MALFORMED, "is not a GGUF file"),
      header(
          "version 0", [](GgufBytes& f) { f.version = 0; }, FACET_UNSUPPORTED, "GGUF version 0"),
      header(
          "version 1", [](GgufBytes& f) { f.version = 1; }, FACET_UNSUPPORTED, "GGUF version 1"),
      header(
          "version 4", [](GgufBytes& f) { f.version = 4; }, FACET_UNSUPPORTED, "GGUF version 4"),
      header(
          "big endian", [](GgufBytes& f) { f.version = 3u << 24; }, FACET_UNSUPPORTED, "big-endian"),
      header(
          "2^63 keys", [](GgufBytes& f) { f.entry_count = kHuge; }, FACET_MALFORMED,
          "claims 9223372036854775808 keys"),
      header(
          "2^63 tensors", [](GgufBytes& f) { f.tensor_count = kHuge; }, FACET_MALFORMED,
          "claims 9223372036854775808 tensors"),
      header(
          "a million keys", [](GgufBytes& f) { f.entry_count = 1000000; }, FACET_MALFORMED,
          "claims 1000000 keys"),
      header(
          "a key more than there is", [](GgufBytes& f) { f.entry_count = 20; }, FACET_MALFORMED,
          "past the end"),
      header(
          "a tensor more than there is", [](GgufBytes& f) { f.tensor_count = 4; }, FACET_MALFORMED,
          "tensor at byte"),
  };
}

std::vector<Damage> damaged_keys() {
  auto one = [](const std::string& key, uint32_t type, const std::string& value) {
    return [=] { return GgufBytes().entry(key, type, value); };
  };
  auto array = [](uint32_t element, uint64_t count, const std::string& elements) {
    return [=] { return GgufBytes().array("bad", element, count, elements); };
  };
  std::string four = Bytes().number<uint32_t>(7).str();
  std::string far_string = Bytes().number<uint64_t>(100).raw("short").str();
  std::string wrap_string = Bytes().number<uint64_t>(UINT64_MAX).raw("short").str();
  return {
      {"key without a name", one("", 4, four), FACET_MALFORMED, "key at byte 24 has no name"},
      {"key of 65536 bytes", one(std::string(65536, 'k'), 4, four), FACET_MALFORMED, "65536 bytes"},
      {"key with a control character", one("a\nb", 4, four), FACET_MALFORMED, "unprintable name: 'a\\x0Ab'"},
      {"key that is not UTF-8", one("a\xFF", 4, four), FACET_MALFORMED, "'a\\xFF'"},
      {"unknown type", one("bad", 13, four), FACET_MALFORMED, "key 'bad' has unknown type 13"},
      {"string past the end", one("bad", 8, far_string), FACET_MALFORMED, "key 'bad' runs past the end"},
      {"string length that wraps", one("bad", 8, wrap_string), FACET_MALFORMED,
       "key 'bad' runs past the end"},
      {"number past the end", one("bad", 10, four), FACET_MALFORMED, "key 'bad' runs past the end"},
      {"bool of 2", one("bad", 7, "\x02"), FACET_MALFORMED, "key 'bad' has a bool that is neither 0 nor 1"},
      {"bool of 2 in an array", array(7, 3, std::string("\0\1\2", 3)), FACET_MALFORMED,
       "key 'bad' has a bool"},
      {"array of arrays", array(9, 1, four), FACET_UNSUPPORTED, "key 'bad' is an array of arrays"},
      {"array of an unknown type", array(99, 1, four), FACET_MALFORMED, "key 'bad' has unknown type 99"},
      {"array of 2^63", array(4, kHuge, four), FACET_MALFORMED, "key 'bad' runs past the end"},
      {"array whose bytes wrap to 0", array(10, 1ull << 61, four), FACET_MALFORMED,
       "key 'bad' runs past the end"},
      {"2^63 strings", array(8, kHuge, Bytes().string("x").str()), FACET_MALFORMED,
       "key 'bad' runs past the end"},
      {"a string past the end in an array",
       array(8, 2, Bytes().string("x").number<uint64_t>(UINT64_MAX).str()), FACET_MALFORMED,
       "string 1 of key 'bad'"},
      {"key twice", [] { return GgufBytes().u32("k", 1).u32("j", 1).u32("k", 2); }, FACET_MALFORMED,
       "key 'k' stands twice"},
      {"alignment 0", [] { return GgufBytes().u32("general.alignment", 0); }, FACET_MALFORMED,
       "general.alignment is 0"},
      {"alignment 48", [] { return GgufBytes().u32("general.alignment", 48); }, FACET_MALFORMED,
       "not a power of two"},
      {"alignment 2^31", [] { return GgufBytes().u32("general.alignment", 1u << 31); }, FACET_MALFORMED,
       "general.alignment is 2147483648, more than"},
      {"alignment 8", [] { return GgufBytes().u32("general.alignment", 8); }, FACET_UNSUPPORTED,
       "less than 32"},
      {"alignment that is a string", [] { return GgufBytes().string("general.alignment", "32"); },
       FACET_MALFORMED, "key 'general.alignment' is string"},
  };
}

std::vector<Damage> damaged_tensors() {
  auto one = [](std::vector<uint64_t> dims, uint32_t type, uint64_t offset) {
    return [=] { return GgufBytes().tensor_entry("bad", dims, type, offset).data(std::string(256, '\0')); };
  };
  auto named = [](std::string name) { return [=] { return GgufBytes().f32_tensor(name, {1}, {1}); }; };
  return {
      {"no dimensions", one({}, kF32, 0), FACET_MALFORMED, "tensor 'bad' has 0 dimensions"},
      {"five dimensions", one({1, 1, 1, 1, 1}, kF32, 0), FACET_MALFORMED, "tensor 'bad' has 5 dimensions"},
      {"dimension 0", one({4, 0}, kF32, 0), FACET_MALFORMED, "tensor 'bad' has a dimension of 0"},
      {"elements overflow", one({1ull << 32, 1ull << 32}, kF32, 0), FACET_MALFORMED,
       "tensor 'bad' has too many"},
      {"bytes overflow", one({1ull << 62}, kF32, 0), FACET_MALFORMED, "tensor 'bad' is larger than the file"},
      {"larger than the file", one({1000}, kF32, 0), FACET_MALFORMED, "tensor 'bad' is larger than the file"},
      {"larger than the data", one({65}, kF32, 0), FACET_MALFORMED, "tensor 'bad' runs past the end"},
      {"unknown type", one({32}, 99, 0), FACET_UNSUPPORTED, "tensor 'bad' has unsupported type 99"},
      {"removed type", one({32}, 4, 0), FACET_UNSUPPORTED, "tensor 'bad' has unsupported type 4"},
      {"row of half a block", one({48}, FACET_TYPE_Q8_0, 0), FACET_MALFORMED,
       "tensor 'bad' has rows of 48 elements, which are no whole blocks of Q8_0"},
      {"row of half a superblock", one({128, 2}, FACET_TYPE_Q4_K, 0), FACET_MALFORMED,
       "no whole blocks of Q4_K"},
      {"offset past the end", one({1}, kF32, 1024), FACET_MALFORMED, "tensor 'bad' runs past the end"},
      {"end past the end", one({32}, kF32, 224), FACET_MALFORMED, "tensor 'bad' runs past the end"},
      {"offset that wraps into the header", one({1}, kF32, 0 - 64ull), FACET_MALFORMED,
       "tensor 'bad' runs past the end"},
      {"misaligned offset", one({1}, kF32, 8), FACET_MALFORMED, "tensor 'bad' is not aligned to 32"},
      {"no data at all", [] { return GgufBytes().tensor_entry("bad", {1}, kF32, 0); }, FACET_MALFORMED,
       "tensor 'bad' runs past the end"},
      {"tensor without a name", named(""), FACET_MALFORMED, "the tensor at byte 24 has no name"},
      {"tensor name of 65 bytes", named(std::string(65, 't')), FACET_MALFORMED, "65 bytes, more than 64"},
      {"tensor name with a zero byte", named(std::string("a\0b", 3)), FACET_MALFORMED, "'a\\x00b'"},
      {"tensor twice", [] { return GgufBytes().f32_tensor("t", {1}, {1}).f32_tensor("t", {1}, {2}); },
       FACET_MALFORMED, "tensor 't' stands twice"},
      {"tensors that overlap",
       [] {
         return GgufBytes().f32_tensor("a", {16}, std::vector<float>(16)).tensor_entry("b", {1}, kF32, 32);
       },
       FACET_MALFORMED, "tensors 'a' and 'b' overlap"},
  };
}

}  // namespace

TEST_CASE("every kind of damage is refused with a message that names the thing") {
  Folder folder;
  std::string path = folder.path + "/damaged.gguf";
  for (const auto& list : {damaged_headers(), damaged_keys(), damaged_tensors()}) {
    for (const Damage& damage : list) {
      INFO(damage.what);
      std::string bytes = damage.make().str();
      auto alone = parse_alone(bytes);
      REQUIRE(!alone.ok());
      test::write_file(path, bytes);
      auto opened = GgufFile::open(path);
      REQUIRE(!opened.ok());
      INFO(opened.error().message);
      CHECK(opened.error().code == damage.code);
      CHECK(opened.error().message.starts_with(path + ": "));
      CHECK(contains(opened.error().message, damage.message));
    }
  }
}

TEST_CASE("a file cut short at any byte is refused") {
  std::string whole = small_file().str();
  REQUIRE(parse_alone(whole).ok());
  for (size_t size = 0; size < whole.size(); ++size) {
    auto result = parse_alone(std::string_view(whole).substr(0, size));
    CAPTURE(size);
    REQUIRE(!result.ok());
    CHECK(result.error().code == FACET_MALFORMED);
  }
}

TEST_CASE("whatever byte is changed, what is accepted lies inside the file") {
  const std::string whole = small_file().str();
  int accepted = 0;
  for (size_t at = 0; at < whole.size(); ++at) {
    for (int change : {0x01, 0x02, 0x10, 0x80, 0xFF}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      auto look = [&](const GgufFile& file) {
        ++accepted;
        for (const auto& entry : file.entries()) {
          if (auto strings = file.strings(entry.key); strings.ok()) {
            size_t total = 0;
            for (std::string_view s : *strings) total += s.size();
            CHECK(total < whole.size());
          }
          if (auto value = file.find_string(entry.key); value.ok() && *value)
            CHECK((*value)->size() < whole.size());
          if (auto numbers = file.integers(entry.key); numbers.ok() && numbers->size() > 0)
            (void)(*numbers)[0];
        }
        for (const GgufTensor& tensor : file.tensors()) {
          std::byte sum{};
          for (std::byte b : tensor.data) sum ^= b;
          CHECK(tensor.elements() <= whole.size());
        }
      };
      (void)parse_alone(bytes, look);
    }
  }
  // Most changes are seen; those in names, numbers and data cannot be.
  CHECK(accepted > 0);
  CHECK(accepted < static_cast<int>(whole.size()) * 4);
}

TEST_CASE("opening a file of 5 GB reads its directory only") {
  Folder folder;
  std::string path = folder.path + "/large.gguf";
  constexpr uint64_t kRow = 1 << 20, kRows = 1280;
  test::write_file(path, GgufBytes().tensor_entry("large", {kRow, kRows}, kF32, 0).str());
  uint64_t size = 4096 + kRow * kRows * sizeof(float);
  REQUIRE(truncate(path.c_str(), static_cast<off_t>(size)) == 0);

  auto file = GgufFile::open(path);
  REQUIRE(file.ok());
  const GgufTensor* large = file->tensor("large");
  REQUIRE(large->data.size() == kRow * kRows * sizeof(float));
  // No page of the tensor but those that the kernel reads together with the header is in memory.
  size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  auto middle = reinterpret_cast<uintptr_t>(large->data.data() + large->data.size() / 2) / page * page;
  std::vector<unsigned char> resident(4096);
  REQUIRE(mincore(reinterpret_cast<void*>(middle), resident.size() * page, resident.data()) == 0);
  CHECK(std::count_if(resident.begin(), resident.end(), [](unsigned char r) { return r & 1; }) == 0);
}

TEST_CASE("the views of a file stay valid when it moves") {
  Folder folder;
  std::string path = folder.path + "/small.gguf";
  test::write_file(path, small_file().str());
  auto opened = GgufFile::open(path);
  REQUIRE(opened.ok());
  std::string_view name = *opened->string("name");
  GgufFile moved = std::move(*opened);
  CHECK(name == "a name");
  CHECK(moved.string("name")->data() == name.data());
  CHECK(moved.tensor("vector") != nullptr);
  CHECK(moved.path() == path);
  CHECK(GgufFile::open(folder.path + "/absent.gguf").error().code == FACET_NOT_FOUND);
}

TEST_CASE("the real Gemma 3 270M is read") {
  auto file = GgufFile::open(test::real_gemma3_path());
  REQUIRE(file.ok());
  CHECK(file->tensors().size() == 236);
  CHECK(*file->string("general.architecture") == "gemma3");
  CHECK(*file->u32("gemma3.block_count") == 18);
  CHECK(file->strings("tokenizer.ggml.tokens")->size() == 262144);
  const GgufTensor* embedding = file->tensor("token_embd.weight");
  REQUIRE(embedding != nullptr);
  CHECK(embedding->dims == std::array<uint64_t, 4>{640, 262144, 1, 1});
  for (const GgufTensor& tensor : file->tensors()) {
    CHECK(reinterpret_cast<uintptr_t>(tensor.data.data()) % 32 == 0);
  }
}
