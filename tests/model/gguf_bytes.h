// Writes GGUF files in memory, right ones and wrong ones: every field can be set to what a right writer would
// not write.
#pragma once

#include <facet/backend.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/model/gguf.h"

namespace facet::test {

using model::GgufType;

// Bytes of a string of numbers and strings, as GGUF writes them.
class Bytes {
 public:
  template <typename T>
  Bytes& number(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Bytes& raw(std::string_view bytes) { return out_ += bytes, *this; }
  Bytes& string(std::string_view value) { return number<uint64_t>(value.size()).raw(value); }
  Bytes& pad_to(size_t alignment) {
    return out_.resize((out_.size() + alignment - 1) / alignment * alignment), *this;
  }
  const std::string& str() const { return out_; }

 private:
  std::string out_;
};

class GgufBytes {
 public:
  std::string magic = "GGUF";
  uint32_t version = 3;
  size_t alignment = 32;  // of the data as it is written; general.alignment is the caller's to add
  std::optional<uint64_t> tensor_count, entry_count;  // what the header claims, if not the truth

  // Any pair: `value` follows the type as it is.
  GgufBytes& entry(std::string_view key, uint32_t type, const std::string& value) {
    entries_.string(key).number(type).raw(value);
    ++entries_written_;
    return *this;
  }
  template <typename T>
  GgufBytes& number(std::string_view key, GgufType type, T value) {
    return entry(key, static_cast<uint32_t>(type), Bytes().number(value).str());
  }
  GgufBytes& u32(std::string_view key, uint32_t value) { return number(key, GgufType::kUint32, value); }
  GgufBytes& f32(std::string_view key, float value) { return number(key, GgufType::kFloat32, value); }
  GgufBytes& boolean(std::string_view key, bool value) {
    return number<uint8_t>(key, GgufType::kBool, value);
  }
  GgufBytes& string(std::string_view key, std::string_view value) {
    return entry(key, static_cast<uint32_t>(GgufType::kString), Bytes().string(value).str());
  }
  // An array: `count` as it is claimed, and the bytes of the elements.
  GgufBytes& array(std::string_view key, uint32_t element, uint64_t count, const std::string& elements) {
    return entry(key, static_cast<uint32_t>(GgufType::kArray),
                 Bytes().number(element).number(count).raw(elements).str());
  }
  template <typename T>
  GgufBytes& numbers(std::string_view key, GgufType element, const std::vector<T>& values) {
    Bytes bytes;
    for (T value : values) bytes.number(value);
    return array(key, static_cast<uint32_t>(element), values.size(), bytes.str());
  }
  GgufBytes& strings(std::string_view key, const std::vector<std::string>& values) {
    Bytes bytes;
    for (const std::string& value : values) bytes.string(value);
    return array(key, static_cast<uint32_t>(GgufType::kString), values.size(), bytes.str());
  }

  // A tensor's line in the directory, without data.
  GgufBytes& tensor_entry(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                          uint64_t offset) {
    directory_.string(name).number(static_cast<uint32_t>(dims.size()));
    for (uint64_t dim : dims) directory_.number(dim);
    directory_.number(type).number(offset);
    ++tensors_written_;
    return *this;
  }
  // A tensor with its data behind that of the tensors before it.
  GgufBytes& tensor(std::string_view name, const std::vector<uint64_t>& dims, uint32_t type,
                    std::string_view data) {
    data_.pad_to(alignment);
    tensor_entry(name, dims, type, data_.str().size());
    data_.raw(data);
    return *this;
  }
  GgufBytes& f32_tensor(std::string_view name, const std::vector<uint64_t>& dims,
                        const std::vector<float>& values) {
    std::string_view bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    return tensor(name, dims, FACET_TYPE_F32, bytes);
  }
  GgufBytes& data(std::string_view bytes) { return data_.raw(bytes), *this; }

  std::string str() const {
    Bytes out;
    out.raw(magic).number(version);
    out.number(tensor_count.value_or(tensors_written_)).number(entry_count.value_or(entries_written_));
    out.raw(entries_.str()).raw(directory_.str());
    if (!data_.str().empty()) out.pad_to(alignment).raw(data_.str());
    return out.str();
  }

 private:
  Bytes entries_, directory_, data_;
  uint64_t entries_written_ = 0, tensors_written_ = 0;
};

inline std::span<const std::byte> as_bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace facet::test
