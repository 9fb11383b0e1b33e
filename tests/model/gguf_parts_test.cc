// Models split over several files, right ones and wrong ones.
#include "daemon/model/gguf_parts.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>

#include "daemon/model/model.h"
#include "tests/model/gguf_bytes.h"
#include "tests/test_models.h"

using facet::model::GgufFile;
using facet::model::GgufTensor;
using facet::model::GgufType;
using facet::test::as_bytes;
using facet::test::GgufBytes;
using facet::test::write_file;

namespace {

struct Folder {
  std::string path;
  Folder() {
    char name[] = "/tmp/facet-test-XXXXXX";
    path = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// With the keys as the usual writers write them.
GgufBytes part(uint16_t number, uint16_t count, int32_t tensors) {
  GgufBytes file;
  file.number("split.no", GgufType::kUint16, number).number("split.count", GgufType::kUint16, count);
  file.number("split.tensors.count", GgufType::kInt32, tensors);
  return file;
}

// Three parts of a model with four tensors; the first part has none, as some writers like it.
std::vector<GgufBytes> three_parts() {
  std::vector<GgufBytes> parts{part(0, 3, 4), part(1, 3, 4), part(2, 3, 4)};
  parts[0].string("general.name", "whole");
  parts[1].string("general.name", "not read");
  parts[1].f32_tensor("b", {2}, {1, 2}).f32_tensor("a", {3}, {3, 4, 5});
  parts[2].f32_tensor("d", {1}, {6}).f32_tensor("c", {2, 2}, {7, 8, 9, 10});
  return parts;
}

std::string file_of(const Folder& folder, size_t number, size_t count = 3) {
  return folder.path + "/m-0000" + std::to_string(number) + "-of-0000" + std::to_string(count) + ".gguf";
}

void write(const Folder& folder, const std::vector<GgufBytes>& parts) {
  for (size_t i = 0; i < parts.size(); ++i) write_file(file_of(folder, i + 1), parts[i].str());
}

float first_float(const GgufFile& file, const char* name) {
  const GgufTensor* tensor = file.tensor(name);
  float value = 0;
  if (tensor) std::memcpy(&value, tensor->data.data(), sizeof value);
  return value;
}

// Writes a model again as `count` parts, its tensors dealt out in turn; metadata in the first.
void split(const GgufFile& file, const Folder& folder, uint16_t count) {
  std::vector<GgufBytes> parts;
  for (uint16_t i = 0; i < count; ++i)
    parts.push_back(part(i, count, static_cast<int32_t>(file.tensors().size())));
  for (const auto& entry : file.entries()) {
    std::string data(reinterpret_cast<const char*>(entry.data.data()), entry.data.size());
    if (entry.type == GgufType::kArray) {
      parts[0].array(entry.key, static_cast<uint32_t>(entry.element), entry.count, data);
    } else {
      parts[0].entry(entry.key, static_cast<uint32_t>(entry.type), data);
    }
  }
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const GgufTensor& tensor = file.tensors()[i];
    std::vector<uint64_t> dims(tensor.dims.begin(), tensor.dims.begin() + tensor.dims_count);
    std::string_view data(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    parts[i % count].tensor(tensor.name, dims, tensor.type, data);
  }
  for (size_t i = 0; i < parts.size(); ++i) write_file(file_of(folder, i + 1, count), parts[i].str());
}

}  // namespace

TEST_CASE("the first part opens all: its metadata, the tensors of all") {
  Folder folder;
  write(folder, three_parts());
  auto opened = GgufFile::open(file_of(folder, 1));
  REQUIRE_MESSAGE(opened.ok(), opened.error().message);
  auto before = opened->tensor("c")->data;
  const GgufFile file = std::move(*opened);
  CHECK(file.tensor("c")->data.data() == before.data());
  CHECK(file.string("general.name").value() == "whole");
  REQUIRE(file.tensors().size() == 4);
  CHECK(file.tensors()[0].name == "b");
  CHECK(first_float(file, "a") == 3);
  CHECK(first_float(file, "b") == 1);
  CHECK(first_float(file, "c") == 7);
  CHECK(first_float(file, "d") == 6);
  uint64_t bytes = 0;
  for (size_t i = 1; i <= 3; ++i) bytes += std::filesystem::file_size(file_of(folder, i));
  CHECK(file.file_bytes() == bytes);
  CHECK(file.path() == file_of(folder, 1));
  REQUIRE(file.headers().size() == 3);
  for (size_t i = 0; i < 3; ++i) {
    const auto header = file.headers()[i], whole = file.mapping(i);
    CHECK(header.data() == whole.data());
    CHECK(header.size() <= whole.size());  // one part has no tensors
    const std::byte* const end = header.data() + header.size();
    for (const GgufTensor& tensor : file.tensors()) {
      if (tensor.data.data() < whole.data() || tensor.data.data() >= whole.data() + whole.size()) continue;
      CHECK(tensor.data.data() >= end);
      CHECK(reinterpret_cast<const std::byte*>(tensor.name.data()) + tensor.name.size() <= end);
    }
  }
}

TEST_CASE("a model in one part is a file like any other") {
  Folder folder;
  write_file(folder.path + "/any.gguf", part(0, 1, 1).f32_tensor("a", {1}, {1}).str());
  CHECK(GgufFile::open(folder.path + "/any.gguf").ok());
  write_file(file_of(folder, 2), GgufBytes().f32_tensor("a", {1}, {1}).str());
  CHECK(GgufFile::open(file_of(folder, 2)).ok());
}

TEST_CASE("a split model is the model that was split") {
  const std::string path = facet::test::tiny_model_path("e2b");
  auto whole = facet::model::Model::load(path);
  REQUIRE_MESSAGE(whole.ok(), whole.error().message);
  Folder folder;
  split((*whole)->file(), folder, 4);
  auto parts = facet::model::Model::load(file_of(folder, 1, 4));
  REQUIRE_MESSAGE(parts.ok(), parts.error().message);
  CHECK((*parts)->program().print() == (*whole)->program().print());
  for (const GgufTensor& tensor : (*whole)->file().tensors()) {
    const GgufTensor* other = (*parts)->file().tensor(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(std::equal(tensor.data.begin(), tensor.data.end(), other->data.begin(), other->data.end()));
    CHECK(reinterpret_cast<uintptr_t>(other->data.data()) % 32 == 0);
  }
}

TEST_CASE("a later part is refused, naming the first") {
  Folder folder;
  write(folder, three_parts());
  auto file = GgufFile::open(file_of(folder, 2));
  REQUIRE_FALSE(file.ok());
  CHECK(file.error().code == FACET_UNSUPPORTED);
  CHECK(file.error().message ==
        file_of(folder, 2) +
            ": is part 2 of 3 of a split model, which is opened by its first: " + file_of(folder, 1));
}

TEST_CASE("parts that do not make one model are refused by name") {
  using Parts = std::vector<GgufBytes>;
  struct Damage {
    const char* what;
    std::function<void(Parts&)> damage;
    facet_status code;
    std::string message;  // MODEL stands for the path without the part's number
  };
  const std::vector<Damage> all = {
      {"no number", [](Parts& p) { p[0] = GgufBytes().u32("split.count", 3).u32("split.tensors.count", 4); },
       FACET_NOT_FOUND, "MODEL1: key 'split.no' is missing"},
      {"no tensor count", [](Parts& p) { p[0] = GgufBytes().u32("split.count", 3).u32("split.no", 0); },
       FACET_NOT_FOUND, "MODEL1: key 'split.tensors.count' is missing"},
      {"a negative tensor count", [](Parts& p) { p[0] = part(0, 3, -4); }, FACET_MALFORMED,
       "MODEL1: key 'split.tensors.count' holds a value that is no uint32"},
      {"number beyond the count", [](Parts& p) { p[0] = part(3, 3, 4); }, FACET_MALFORMED,
       "MODEL1: split.no is 3 of 3 parts"},
      {"an absurd count", [](Parts& p) { p[0] = part(0, 65535, 4); }, FACET_MALFORMED,
       "MODEL1: split.count is 65535, more than 1024"},
      {"a count that is text", [](Parts& p) { p[0] = GgufBytes().string("split.count", "3"); },
       FACET_MALFORMED, "MODEL1: key 'split.count' is string"},
      {"a count unlike the name's", [](Parts& p) { p[0] = part(0, 2, 4); }, FACET_MALFORMED,
       "MODEL1: is part 1 of 2 of a split model, but its name does not end as that of one"},
      {"a number unlike the name's", [](Parts& p) { p[0] = part(1, 3, 4); }, FACET_MALFORMED,
       "MODEL1: is part 2 of 3 of a split model, but its name does not end as that of one"},
      {"a part that is no part", [](Parts& p) { p[1] = GgufBytes().f32_tensor("a", {1}, {1}); },
       FACET_MALFORMED, "MODEL2: is no part of a split model, unlike MODEL1"},
      {"a part of a longer split", [](Parts& p) { p[2] = part(2, 4, 4); }, FACET_MALFORMED,
       "MODEL3: split.count is 4, not 3 as in MODEL1"},
      {"a part of another split", [](Parts& p) { p[2] = part(2, 3, 5); }, FACET_MALFORMED,
       "MODEL3: split.tensors.count is 5, not 4 as in MODEL1"},
      {"two parts swapped", [](Parts& p) { std::swap(p[1], p[2]); }, FACET_MALFORMED,
       "MODEL2: split.no is 2, not 1 as for part 2 of 3"},
      {"the same part twice", [](Parts& p) { p[2] = p[1]; }, FACET_MALFORMED,
       "MODEL3: split.no is 1, not 2 as for part 3 of 3"},
      {"a tensor twice",
       [](Parts& p) { p[2] = part(2, 3, 4).f32_tensor("d", {1}, {1}).f32_tensor("a", {1}, {1}); },
       FACET_MALFORMED, "MODEL1: tensor 'a' stands twice"},
      {"a tensor too few", [](Parts& p) { p[2] = part(2, 3, 4).f32_tensor("d", {1}, {1}); }, FACET_MALFORMED,
       "MODEL1: split.tensors.count is 4, not the number of tensors in the parts"},
      {"a tensor too many", [](Parts& p) { p[1].f32_tensor("e", {1}, {1}); }, FACET_MALFORMED,
       "MODEL1: split.tensors.count is 4, not the number of tensors in the parts"},
      {"a part cut short", [](Parts& p) { p[1].tensor_count = 3; }, FACET_MALFORMED, "part 2 of 3"},
  };
  for (const Damage& damage : all) {
    CAPTURE(damage.what);
    Folder folder;
    Parts parts = three_parts();
    damage.damage(parts);
    write(folder, parts);
    auto file = GgufFile::open(file_of(folder, 1));
    REQUIRE_FALSE(file.ok());
    CHECK(file.error().code == damage.code);
    std::string wanted = damage.message;
    for (size_t i = 1; i <= 3; ++i) {
      const std::string mark = "MODEL" + std::to_string(i);
      for (size_t at; (at = wanted.find(mark)) != std::string::npos;)
        wanted.replace(at, mark.size(), file_of(folder, i));
    }
    CAPTURE(file.error().message);
    CHECK(contains(file.error().message, wanted));
  }
}

TEST_CASE("a part that is missing or is no file is named") {
  Folder folder;
  write(folder, three_parts());
  std::filesystem::remove(file_of(folder, 3));
  auto file = GgufFile::open(file_of(folder, 1));
  REQUIRE_FALSE(file.ok());
  CHECK(file.error().code == FACET_NOT_FOUND);
  CHECK(file.error().message ==
        "part 3 of 3 of a split model: " + file_of(folder, 3) + ": No such file or directory");
  std::filesystem::create_directory(file_of(folder, 3));
  CHECK(GgufFile::open(file_of(folder, 1)).error().code == FACET_MALFORMED);
}

TEST_CASE("parts in memory are joined as files are") {
  auto parts = three_parts();
  std::vector<std::string> bytes;
  for (const GgufBytes& one : parts) bytes.push_back(one.str());
  auto parsed = [&](std::vector<size_t> which) {
    std::vector<GgufFile> files;
    for (size_t i : which) files.push_back(GgufFile::parse(as_bytes(bytes[i]), "part").value());
    return files;
  };
  CHECK(GgufFile::join(parsed({0, 1, 2})).ok());
  CHECK(contains(GgufFile::join(parsed({0, 1})).error().message,
                 "split.count is 3, not 2, the parts there are"));
  CHECK(contains(GgufFile::join(parsed({1, 0, 2})).error().message, "split.no is 1, not 0"));
}
