// A model file taken apart, to be put together again with one thing changed.
#pragma once

#include <doctest/doctest.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "daemon/model/model.h"
#include "tests/model/gguf_bytes.h"
#include "tests/test_models.h"

namespace facet::test {

using model::GgufType;

struct Tensor {
  std::vector<uint64_t> dims;
  uint32_t type = FACET_TYPE_F32;
  std::string data;
};

struct Parts {
  explicit Parts(const std::string& path) {
    auto file = model::GgufFile::open(path);
    REQUIRE(file.ok());
    for (const model::GgufEntry& entry : file->entries()) {
      const std::string data(reinterpret_cast<const char*>(entry.data.data()), entry.data.size());
      Bytes value;
      if (entry.type == GgufType::kArray)
        value.number(static_cast<uint32_t>(entry.element)).number(entry.count);
      entries[std::string(entry.key)] = {static_cast<uint32_t>(entry.type), value.raw(data).str()};
    }
    for (const model::GgufTensor& tensor : file->tensors()) {
      tensors[std::string(tensor.name)] = {
          {tensor.dims.begin(), tensor.dims.begin() + tensor.dims_count},
          tensor.type,
          std::string(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size())};
    }
  }

  void set_u32(const std::string& key, uint32_t value) {
    entries[key] = {static_cast<uint32_t>(GgufType::kUint32), Bytes().number(value).str()};
  }
  void set_f32(const std::string& key, float value) {
    entries[key] = {static_cast<uint32_t>(GgufType::kFloat32), Bytes().number(value).str()};
  }
  void set_numbers(const std::string& key, const std::vector<uint32_t>& values) {
    Bytes bytes;
    bytes.number(static_cast<uint32_t>(GgufType::kUint32)).number(uint64_t{values.size()});
    for (uint32_t value : values) bytes.number(value);
    entries[key] = {static_cast<uint32_t>(GgufType::kArray), bytes.str()};
  }
  void set_string(const std::string& key, const std::string& value) {
    entries[key] = {static_cast<uint32_t>(GgufType::kString), Bytes().string(value).str()};
  }

  std::string bytes() const {
    GgufBytes out;
    for (const auto& [key, entry] : entries) out.entry(key, entry.first, entry.second);
    for (const auto& [name, tensor] : tensors) out.tensor(name, tensor.dims, tensor.type, tensor.data);
    return out.str();
  }

  std::map<std::string, std::pair<uint32_t, std::string>> entries;  // type and value
  std::map<std::string, Tensor> tensors;
};

// A path of this process, gone when the test is over.
struct TemporaryFile {
  std::string path =
      (std::filesystem::temp_directory_path() / ("facet-refusals-" + std::to_string(::getpid()) + ".gguf"))
          .string();
  ~TemporaryFile() { std::filesystem::remove(path); }
};

struct Wrong {
  std::string names;  // what the message says
  std::function<void(Parts&)> change;
};

inline void drop_key(Parts& parts, const std::string& key) {
  REQUIRE(parts.entries.erase(key) == 1);
}

inline void drop_tensor(Parts& parts, const std::string& name) {
  REQUIRE(parts.tensors.erase(name) == 1);
}

inline Tensor& tensor(Parts& parts, const std::string& name) {
  REQUIRE(parts.tensors.count(name) == 1);
  return parts.tensors[name];
}

// Puts `path` together with each thing wrong, one after the other: `load` refuses each by a message that
// begins with the file and names the thing.
template <typename Load>
void check_refused(const std::string& path, const std::vector<Wrong>& wrongs, Load load) {
  const TemporaryFile file;
  for (const Wrong& wrong : wrongs) {
    CAPTURE(wrong.names);
    Parts parts(path);
    wrong.change(parts);
    write_file(file.path, parts.bytes());
    auto loaded = load(file.path);
    CHECK_FALSE(loaded.ok());
    if (loaded.ok()) continue;
    CAPTURE(loaded.error().message);
    CHECK(loaded.error().message.find(wrong.names) != std::string::npos);
    CHECK(loaded.error().message.rfind(file.path, 0) == 0);
    CHECK(loaded.error().message.find('\n') == std::string::npos);
  }
}
inline void check_refused(const std::string& path, const std::vector<Wrong>& wrongs) {
  check_refused(path, wrongs, [](const std::string& wrong) { return model::Model::load(wrong); });
}

}  // namespace facet::test
