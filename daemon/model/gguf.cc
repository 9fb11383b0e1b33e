#include "daemon/model/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "daemon/model/gguf_parser.h"
#include "daemon/model/gguf_parts.h"
#include "daemon/text/utf8.h"

namespace facet::model {
namespace {

// The map gives no alignment to metadata: values are copied out.
template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// The integer or bool at `at`; nullopt for one above the range of int64.
std::optional<int64_t> integer_at(GgufType type, const std::byte* at) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kBool:
      return load<uint8_t>(at);
    case GgufType::kInt8:
      return load<int8_t>(at);
    case GgufType::kUint16:
      return load<uint16_t>(at);
    case GgufType::kInt16:
      return load<int16_t>(at);
    case GgufType::kUint32:
      return load<uint32_t>(at);
    case GgufType::kInt32:
      return load<int32_t>(at);
    case GgufType::kInt64:
      return load<int64_t>(at);
    case GgufType::kUint64:
      if (auto value = load<uint64_t>(at); value <= std::numeric_limits<int64_t>::max()) {
        return static_cast<int64_t>(value);
      }
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

// The number at `at` as float; nullopt for a finite float64 beyond the range of float.
std::optional<float> float_at(GgufType type, const std::byte* at) {
  if (type == GgufType::kFloat32) return load<float>(at);
  auto value = load<double>(at);
  if (std::isfinite(value) && std::abs(value) > std::numeric_limits<float>::max()) return std::nullopt;
  return static_cast<float>(value);
}

bool is_integer(GgufType type) {
  return type != GgufType::kBool && type != GgufType::kFloat32 && type != GgufType::kFloat64 &&
         type != GgufType::kString && type != GgufType::kArray;
}

bool is_float(GgufType type) {
  return type == GgufType::kFloat32 || type == GgufType::kFloat64;
}

std::string described(const GgufEntry& entry) {
  std::string name(name_of(entry.element));
  return entry.type == GgufType::kArray ? "an array of " + name : name;
}

Error wrong_type(const GgufFile& file, const GgufEntry& entry, std::string_view wanted) {
  return file.error(FACET_MALFORMED,
                    "key " + quoted(entry.key) + " is " + described(entry) + ", not " + std::string(wanted));
}

Error out_of_range(const GgufFile& file, const GgufEntry& entry, std::string_view wanted) {
  return file.error(FACET_MALFORMED,
                    "key " + quoted(entry.key) + " holds a value that is no " + std::string(wanted));
}

template <typename T>
Result<T> required(const GgufFile& file, std::string_view key, Result<std::optional<T>> found) {
  if (!found.ok()) return std::move(found).error();
  if (!found->has_value()) return file.error(FACET_NOT_FOUND, "key " + quoted(key) + " is missing");
  return std::move(**found);
}

}  // namespace

std::string_view name_of(GgufType type) {
  static constexpr std::string_view kNames[] = {"uint8",  "int8",    "uint16", "int16",  "uint32",
                                                "int32",  "float32", "bool",   "string", "array",
                                                "uint64", "int64",   "float64"};
  auto index = static_cast<size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "an unknown type";
}

std::string quoted(std::string_view text) {
  static constexpr size_t kShownBytes = 80;
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out = "'";
  for (unsigned char c : text.substr(0, kShownBytes)) {
    if (c >= 0x20 && c < 0x7F) {
      out += static_cast<char>(c);
    } else {
      out += {'\\', 'x', kHex[c >> 4], kHex[c & 15]};
    }
  }
  return out + (text.size() > kShownBytes ? "...'" : "'");
}

int64_t GgufIntegers::operator[](size_t index) const {
  return integer_at(entry_.element, entry_.data.data() + index * size_of(entry_.element)).value();
}

float GgufFloats::operator[](size_t index) const {
  return float_at(entry_.element, entry_.data.data() + index * size_of(entry_.element)).value();
}

std::string_view GgufStrings::Iterator::operator*() const {
  return {reinterpret_cast<const char*>(at_) + sizeof(uint64_t), load<uint64_t>(at_)};
}

GgufStrings::Iterator& GgufStrings::Iterator::operator++() {
  at_ += sizeof(uint64_t) + load<uint64_t>(at_);
  --left_;
  return *this;
}

Result<GgufFile> GgufFile::open(const std::string& path) {
  FACET_TRY(GgufFile file, open_alone(path));
  FACET_TRY(auto part, read_part_keys(file));
  if (part) return open_parts(std::move(file), *part);
  return file;
}

std::string GgufFile::identity() const {
  std::string all;
  for (const MappedFile& map : maps_) all += map.identity();
  return all;
}

Result<GgufFile> GgufFile::open_alone(const std::string& path) {
  FACET_TRY(MappedFile map, MappedFile::open(path));
  FACET_TRY(GgufFile file, parse(map.bytes(), path));
  file.maps_.push_back(std::move(map));
  return file;
}

Result<GgufFile> GgufFile::parse(std::span<const std::byte> bytes, std::string name) {
  GgufFile file;
  file.bytes_ = bytes;
  file.file_bytes_ = bytes.size();
  file.path_ = std::move(name);
  FACET_CHECK(GgufParser(file).run());
  return file;
}

Error GgufFile::error(facet_status code, std::string_view message) const {
  return {code, path_ + ": " + std::string(message)};
}

const GgufEntry* GgufFile::entry(std::string_view key) const {
  auto at = std::lower_bound(entries_by_key_.begin(), entries_by_key_.end(), key,
                             [&](uint32_t index, std::string_view k) { return entries_[index].key < k; });
  return at != entries_by_key_.end() && entries_[*at].key == key ? &entries_[*at] : nullptr;
}

const GgufTensor* GgufFile::tensor(std::string_view name) const {
  auto at = std::lower_bound(tensors_by_name_.begin(), tensors_by_name_.end(), name,
                             [&](uint32_t index, std::string_view n) { return tensors_[index].name < n; });
  return at != tensors_by_name_.end() && tensors_[*at].name == name ? &tensors_[*at] : nullptr;
}

Result<std::optional<int64_t>> GgufFile::find_i64(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (!found) return std::optional<int64_t>();
  if (!is_integer(found->type)) return wrong_type(*this, *found, "an integer");
  auto value = integer_at(found->type, found->data.data());
  if (!value) return out_of_range(*this, *found, "int64");
  return value;
}

Result<std::optional<uint32_t>> GgufFile::find_u32(std::string_view key) const {
  FACET_TRY(auto value, find_i64(key));
  if (!value) return std::optional<uint32_t>();
  if (!std::in_range<uint32_t>(*value)) return out_of_range(*this, *entry(key), "uint32");
  return std::optional(static_cast<uint32_t>(*value));
}

Result<std::optional<float>> GgufFile::find_f32(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (!found) return std::optional<float>();
  if (!is_float(found->type)) return wrong_type(*this, *found, "a float");
  auto value = float_at(found->type, found->data.data());
  if (!value) return out_of_range(*this, *found, "float32");
  return value;
}

Result<std::optional<bool>> GgufFile::find_boolean(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (!found) return std::optional<bool>();
  if (found->type != GgufType::kBool) return wrong_type(*this, *found, "a bool");
  return std::optional(load<uint8_t>(found->data.data()) != 0);
}

Result<std::optional<std::string_view>> GgufFile::find_string(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (!found) return std::optional<std::string_view>();
  if (found->type != GgufType::kString) return wrong_type(*this, *found, "a string");
  std::string_view value = *GgufStrings::Iterator(found->data.data(), 1);
  if (!text::is_utf8(value)) return out_of_range(*this, *found, "UTF-8");
  return std::optional(value);
}

Result<std::optional<GgufIntegers>> GgufFile::find_integers(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (!found) return std::optional<GgufIntegers>();
  if (found->type != GgufType::kArray || (!is_integer(found->element) && found->element != GgufType::kBool)) {
    return wrong_type(*this, *found, "an array of integers");
  }
  if (found->element == GgufType::kUint64) {
    for (uint64_t i = 0; i < found->count; ++i) {
      if (!integer_at(GgufType::kUint64, found->data.data() + i * sizeof(uint64_t))) {
        return out_of_range(*this, *found, "int64");
      }
    }
  }
  return std::optional(GgufIntegers(*found));
}

Result<std::optional<GgufFloats>> GgufFile::find_floats(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (!found) return std::optional<GgufFloats>();
  if (found->type != GgufType::kArray || !is_float(found->element)) {
    return wrong_type(*this, *found, "an array of floats");
  }
  if (found->element == GgufType::kFloat64) {
    for (uint64_t i = 0; i < found->count; ++i) {
      if (!float_at(GgufType::kFloat64, found->data.data() + i * sizeof(double))) {
        return out_of_range(*this, *found, "float32");
      }
    }
  }
  return std::optional(GgufFloats(*found));
}

Result<std::optional<GgufStrings>> GgufFile::find_strings(std::string_view key) const {
  const GgufEntry* found = entry(key);
  if (!found) return std::optional<GgufStrings>();
  if (found->type != GgufType::kArray || found->element != GgufType::kString) {
    return wrong_type(*this, *found, "an array of strings");
  }
  return std::optional(GgufStrings(*found));
}

Result<uint32_t> GgufFile::u32(std::string_view key) const {
  return required(*this, key, find_u32(key));
}
Result<int64_t> GgufFile::i64(std::string_view key) const {
  return required(*this, key, find_i64(key));
}
Result<float> GgufFile::f32(std::string_view key) const {
  return required(*this, key, find_f32(key));
}
Result<bool> GgufFile::boolean(std::string_view key) const {
  return required(*this, key, find_boolean(key));
}
Result<std::string_view> GgufFile::string(std::string_view key) const {
  return required(*this, key, find_string(key));
}
Result<GgufIntegers> GgufFile::integers(std::string_view key) const {
  return required(*this, key, find_integers(key));
}
Result<GgufFloats> GgufFile::floats(std::string_view key) const {
  return required(*this, key, find_floats(key));
}
Result<GgufStrings> GgufFile::strings(std::string_view key) const {
  return required(*this, key, find_strings(key));
}

}  // namespace facet::model
