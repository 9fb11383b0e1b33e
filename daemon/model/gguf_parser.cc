#include "daemon/model/gguf_parser.h"

#include <facet/backend.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>

#include "daemon/text/utf8.h"

namespace facet::model {
namespace {

static_assert(std::endian::native == std::endian::little, "the map is read as it is");

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMaxEntries = 1 << 16;
constexpr uint64_t kMaxTensors = 1 << 16;
constexpr size_t kMaxKeyBytes = 65535;
constexpr size_t kMaxTensorNameBytes = 64;
constexpr uint64_t kMaxStrings = 1 << 26;  // of an array: each must be looked at to find the next key
constexpr uint32_t kDefaultAlignment = 32;
constexpr uint32_t kMinAlignment = 32;  // what the plugin ABI promises for weights
constexpr uint32_t kMaxAlignment = 1 << 16;

struct TypedFormat {
  uint32_t type;
  BlockFormat format;
};

constexpr TypedFormat kFormats[] = {
    {FACET_TYPE_F32, {"F32", 1, 4}},           {FACET_TYPE_F16, {"F16", 1, 2}},
    {FACET_TYPE_BF16, {"BF16", 1, 2}},         {FACET_TYPE_Q4_0, {"Q4_0", 32, 18}},
    {FACET_TYPE_Q4_1, {"Q4_1", 32, 20}},       {FACET_TYPE_Q5_0, {"Q5_0", 32, 22}},
    {FACET_TYPE_Q5_1, {"Q5_1", 32, 24}},       {FACET_TYPE_Q8_0, {"Q8_0", 32, 34}},
    {FACET_TYPE_Q2_K, {"Q2_K", 256, 84}},      {FACET_TYPE_Q3_K, {"Q3_K", 256, 110}},
    {FACET_TYPE_Q4_K, {"Q4_K", 256, 144}},     {FACET_TYPE_Q5_K, {"Q5_K", 256, 176}},
    {FACET_TYPE_Q6_K, {"Q6_K", 256, 210}},     {FACET_TYPE_IQ4_NL, {"IQ4_NL", 32, 18}},
    {FACET_TYPE_IQ4_XS, {"IQ4_XS", 256, 136}},
};

// UTF-8 without control characters: what may go into a message, a JSON string and a C string.
bool is_printable(std::string_view name) {
  return text::is_utf8(name) &&
         std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; });
}

// The indices of `items` in the order of their names; `name` gives one.
template <typename Items, typename Name>
std::vector<uint32_t> sorted_indices(const Items& items, Name name) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return name(items[a]) < name(items[b]); });
  return order;
}

// The first name that stands twice in the sorted `order`; nullopt if none does.
template <typename Items, typename Name>
std::optional<std::string_view> first_double(const Items& items, const std::vector<uint32_t>& order,
                                             Name name) {
  auto at = std::adjacent_find(order.begin(), order.end(),
                               [&](uint32_t a, uint32_t b) { return name(items[a]) == name(items[b]); });
  if (at == order.end()) return std::nullopt;
  return name(items[*at]);
}

}  // namespace

std::optional<BlockFormat> block_format(uint32_t type) {
  for (const TypedFormat& known : kFormats) {
    if (known.type == type) return known.format;
  }
  return std::nullopt;
}

size_t size_of(GgufType type) {
  switch (type) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

template <typename T>
std::optional<T> GgufParser::next() {
  if (left() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, here(), sizeof value);
  at_ += sizeof value;
  return value;
}

std::optional<std::string_view> GgufParser::next_string() {
  auto length = next<uint64_t>();
  if (!length || *length > left()) return std::nullopt;
  std::string_view value(reinterpret_cast<const char*>(here()), *length);
  at_ += *length;
  return value;
}

Result<void> GgufParser::run() {
  FACET_CHECK(read_header());
  FACET_CHECK(read_entries());
  FACET_CHECK(read_tensors());
  file_.headers_ = {file_.bytes_.first(at_)};
  FACET_CHECK(place_tensors());
  return refuse_overlaps();
}

Result<void> GgufParser::read_header() {
  auto magic = next<uint32_t>();
  if (magic != kMagic) return malformed("is not a GGUF file");
  auto version = next<uint32_t>();
  if (!version) return malformed("ends inside the header");
  if (*version != 0 && (*version & 0xFFFF) == 0) return unsupported("is a big-endian GGUF file");
  if (*version != 2 && *version != 3) return unsupported("has GGUF version " + std::to_string(*version));
  file_.version_ = *version;
  auto tensors = next<uint64_t>();
  auto entries = next<uint64_t>();
  if (!tensors || !entries) return malformed("ends inside the header");
  if (*tensors > kMaxTensors) return malformed("claims " + std::to_string(*tensors) + " tensors");
  if (*entries > kMaxEntries) return malformed("claims " + std::to_string(*entries) + " keys");
  tensor_count_ = *tensors;
  entry_count_ = *entries;
  return {};
}

Result<std::string_view> GgufParser::read_name(std::string_view what, size_t limit) {
  uint64_t start = at_;
  auto name = next_string();
  std::string place = std::string(what) + " at byte " + std::to_string(start);
  if (!name) return malformed("the name of the " + place + " runs past the end of the file");
  if (name->empty()) return malformed("the " + place + " has no name");
  if (name->size() > limit) {
    return malformed("the " + place + " has a name of " + std::to_string(name->size()) +
                     " bytes, more than " + std::to_string(limit));
  }
  if (!is_printable(*name)) return malformed("the " + place + " has an unprintable name: " + quoted(*name));
  return *name;
}

Result<GgufType> GgufParser::read_type(std::string_view key) {
  auto type = next<uint32_t>();
  if (!type) return malformed("the file ends inside key " + quoted(key));
  if (*type > static_cast<uint32_t>(GgufType::kFloat64)) {
    return malformed("key " + quoted(key) + " has unknown type " + std::to_string(*type));
  }
  return static_cast<GgufType>(*type);
}

Result<void> GgufParser::skip_values(std::string_view key, GgufType type, uint64_t count) {
  if (type == GgufType::kString) {
    if (count > left() / sizeof(uint64_t))
      return malformed("the value of key " + quoted(key) + " runs past the end of the file");
    if (count > kMaxStrings) {
      return malformed("key " + quoted(key) + " has " + std::to_string(count) + " strings");
    }
    for (uint64_t i = 0; i < count; ++i) {
      if (!next_string()) {
        return malformed("string " + std::to_string(i) + " of key " + quoted(key) +
                         " runs past the end of the file");
      }
    }
    return {};
  }
  size_t size = size_of(type);
  if (count > left() / size)
    return malformed("the value of key " + quoted(key) + " runs past the end of the file");
  if (type == GgufType::kBool &&
      std::any_of(here(), here() + count, [](std::byte b) { return b > std::byte{1}; })) {
    return malformed("key " + quoted(key) + " has a bool that is neither 0 nor 1");
  }
  at_ += count * size;
  return {};
}

Result<void> GgufParser::read_entry() {
  GgufEntry entry = {};
  FACET_TRY(entry.key, read_name("key", kMaxKeyBytes));
  FACET_TRY(entry.type, read_type(entry.key));
  entry.element = entry.type;
  entry.count = 1;
  if (entry.type == GgufType::kArray) {
    FACET_TRY(entry.element, read_type(entry.key));
    if (entry.element == GgufType::kArray)
      return unsupported("key " + quoted(entry.key) + " is an array of arrays");
    auto count = next<uint64_t>();
    if (!count) return malformed("the file ends inside key " + quoted(entry.key));
    entry.count = *count;
  }
  uint64_t start = at_;
  FACET_CHECK(skip_values(entry.key, entry.element, entry.count));
  entry.data = file_.bytes_.subspan(start, at_ - start);
  file_.entries_.push_back(entry);
  return {};
}

Result<void> GgufParser::read_entries() {
  for (uint64_t i = 0; i < entry_count_; ++i) FACET_CHECK(read_entry());
  auto key = [](const GgufEntry& entry) { return entry.key; };
  file_.entries_by_key_ = sorted_indices(file_.entries_, key);
  if (auto twice = first_double(file_.entries_, file_.entries_by_key_, key)) {
    return malformed("key " + quoted(*twice) + " stands twice");
  }
  return {};
}

Result<void> GgufParser::read_tensor() {
  GgufTensor tensor = {};
  FACET_TRY(tensor.name, read_name("tensor", kMaxTensorNameBytes));
  std::string name = "tensor " + quoted(tensor.name);
  auto dims_count = next<uint32_t>();
  if (!dims_count) return malformed("the file ends inside the entry of " + name);
  if (*dims_count < 1 || *dims_count > 4) {
    return malformed(name + " has " + std::to_string(*dims_count) + " dimensions");
  }
  tensor.dims_count = *dims_count;
  tensor.dims = {1, 1, 1, 1};
  uint64_t elements = 1;
  for (uint32_t i = 0; i < *dims_count; ++i) {
    auto dim = next<uint64_t>();
    if (!dim) return malformed("the file ends inside the entry of " + name);
    if (*dim == 0) return malformed(name + " has a dimension of 0");
    if (__builtin_mul_overflow(elements, *dim, &elements)) return malformed(name + " has too many elements");
    tensor.dims[i] = *dim;
  }
  auto type = next<uint32_t>();
  auto offset = next<uint64_t>();
  if (!type || !offset) return malformed("the file ends inside the entry of " + name);
  auto format = block_format(*type);
  if (!format) return unsupported(name + " has unsupported type " + std::to_string(*type));
  tensor.type = *type;
  if (tensor.dims[0] % format->elements != 0) {
    return malformed(name + " has rows of " + std::to_string(tensor.dims[0]) +
                     " elements, which are no whole blocks of " + std::string(format->name));
  }
  uint64_t bytes;
  if (__builtin_mul_overflow(elements / format->elements, uint64_t{format->bytes}, &bytes) ||
      bytes > file_.bytes_.size()) {
    return malformed(name + " is larger than the file");
  }
  // The place follows when the directory's end is known; until then the span carries only the size.
  tensor.data = file_.bytes_.first(bytes);
  file_.tensors_.push_back(tensor);
  offsets_.push_back(*offset);
  return {};
}

Result<void> GgufParser::read_tensors() {
  for (uint64_t i = 0; i < tensor_count_; ++i) FACET_CHECK(read_tensor());
  return index_tensors(file_);
}

Result<void> GgufParser::index_tensors(GgufFile& file) {
  auto name = [](const GgufTensor& tensor) { return tensor.name; };
  file.tensors_by_name_ = sorted_indices(file.tensors_, name);
  if (auto twice = first_double(file.tensors_, file.tensors_by_name_, name)) {
    return file.error(FACET_MALFORMED, "tensor " + quoted(*twice) + " stands twice");
  }
  return {};
}

Result<void> GgufParser::place_tensors() {
  FACET_TRY(auto declared, file_.find_u32("general.alignment"));
  uint32_t alignment = declared.value_or(kDefaultAlignment);
  std::string shown = "general.alignment is " + std::to_string(alignment);
  if (!std::has_single_bit(alignment)) return malformed(shown + ", not a power of two");
  if (alignment > kMaxAlignment) return malformed(shown + ", more than " + std::to_string(kMaxAlignment));
  if (alignment < kMinAlignment) return unsupported(shown + ", less than " + std::to_string(kMinAlignment));
  if (file_.tensors_.empty()) return {};

  uint64_t start = (at_ + alignment - 1) / alignment * alignment;
  uint64_t size = file_.bytes_.size() > start ? file_.bytes_.size() - start : 0;
  for (size_t i = 0; i < file_.tensors_.size(); ++i) {
    GgufTensor& tensor = file_.tensors_[i];
    uint64_t offset = offsets_[i];
    if (offset % alignment != 0) {
      return malformed("the data of tensor " + quoted(tensor.name) + " is not aligned to " +
                       std::to_string(alignment));
    }
    if (offset > size || tensor.data.size() > size - offset) {
      return malformed("the data of tensor " + quoted(tensor.name) + " runs past the end of the file");
    }
    tensor.data = file_.bytes_.subspan(start + offset, tensor.data.size());
  }
  return {};
}

Result<void> GgufParser::refuse_overlaps() {
  const auto& tensors = file_.tensors_;
  auto order = sorted_indices(tensors, [](const GgufTensor& tensor) { return tensor.data.data(); });
  auto at = std::adjacent_find(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return tensors[a].data.data() + tensors[a].data.size() > tensors[b].data.data();
  });
  if (at == order.end()) return {};
  return malformed("the data of tensors " + quoted(tensors[*at].name) + " and " +
                   quoted(tensors[at[1]].name) + " overlap");
}

}  // namespace facet::model
