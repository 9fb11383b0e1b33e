#include "daemon/model/gguf_parts.h"

#include <iterator>
#include <string>
#include <utility>

#include "daemon/base/part_name.h"
#include "daemon/model/gguf_parser.h"

namespace facet::model {
namespace {

std::string position(size_t number, size_t count) {
  return "part " + std::to_string(number + 1) + " of " + std::to_string(count);
}

Error differs(const GgufFile& part, const char* key, uint64_t value, const std::string& wanted) {
  return part.error(FACET_MALFORMED, std::string(key) + " is " + std::to_string(value) + ", not " + wanted);
}

// That `part` is number `number` of the parts that `first` begins.
Result<void> check_part(const GgufFile& part, size_t number, const GgufFile& first, const PartKeys& wanted) {
  const std::string place = " as in " + first.path();
  FACET_TRY(auto keys, read_part_keys(part));
  if (!keys) return part.error(FACET_MALFORMED, "is no part of a split model, unlike " + first.path());
  if (keys->count != wanted.count) {
    return differs(part, "split.count", keys->count, std::to_string(wanted.count) + place);
  }
  if (keys->number != number) {
    return differs(part, "split.no", keys->number,
                   std::to_string(number) + " as for " + position(number, wanted.count));
  }
  if (keys->tensors != wanted.tensors) {
    return differs(part, "split.tensors.count", keys->tensors, std::to_string(wanted.tensors) + place);
  }
  return {};
}

}  // namespace

Result<std::optional<PartKeys>> read_part_keys(const GgufFile& file) {
  FACET_TRY(auto count, file.find_u32("split.count"));
  if (count.value_or(0) < 2) return std::optional<PartKeys>();
  if (*count > PartKeys::kMaxParts) {
    return file.error(FACET_MALFORMED, "split.count is " + std::to_string(*count) + ", more than " +
                                           std::to_string(PartKeys::kMaxParts));
  }
  FACET_TRY(uint32_t number, file.u32("split.no"));
  if (number >= *count) {
    return file.error(FACET_MALFORMED, "split.no is " + std::to_string(number) + " of " +
                                           std::to_string(*count) + " parts, which are counted from 0");
  }
  FACET_TRY(uint32_t tensors, file.u32("split.tensors.count"));
  return std::optional(PartKeys{number, *count, tensors});
}

Result<GgufFile> GgufFile::join(std::vector<GgufFile> parts) {
  GgufFile whole = std::move(parts.at(0));
  FACET_TRY(auto keys, read_part_keys(whole));
  if (!keys) return whole.error(FACET_MALFORMED, "is no part of a split model");
  FACET_CHECK(check_part(whole, 0, whole, *keys));
  if (parts.size() != keys->count) {
    return differs(whole, "split.count", keys->count, std::to_string(parts.size()) + ", the parts there are");
  }
  for (size_t i = 1; i < parts.size(); ++i) {
    GgufFile& part = parts[i];
    FACET_CHECK(check_part(part, i, whole, *keys));
    whole.file_bytes_ += part.file_bytes_;
    whole.tensors_.insert(whole.tensors_.end(), part.tensors_.begin(), part.tensors_.end());
    whole.headers_.insert(whole.headers_.end(), part.headers_.begin(), part.headers_.end());
    whole.maps_.insert(whole.maps_.end(), std::make_move_iterator(part.maps_.begin()),
                       std::make_move_iterator(part.maps_.end()));
    if (whole.tensors_.size() > keys->tensors) break;
  }
  if (whole.tensors_.size() != keys->tensors) {
    return differs(whole, "split.tensors.count", keys->tensors, "the number of tensors in the parts");
  }
  FACET_CHECK(GgufParser::index_tensors(whole));
  return whole;
}

Result<GgufFile> open_parts(GgufFile first, const PartKeys& keys) {
  const std::string& path = first.path();
  const auto name = part_name(path);
  if (!name || name->number != keys.number + 1 || name->count != keys.count) {
    return first.error(FACET_MALFORMED, "is " + position(keys.number, keys.count) +
                                            " of a split model, but its name does not end as that of one");
  }
  if (keys.number != 0) {
    return first.error(FACET_UNSUPPORTED,
                       "is " + position(keys.number, keys.count) +
                           " of a split model, which is opened by its first: " + name->of(1));
  }
  std::vector<GgufFile> parts;
  parts.push_back(std::move(first));
  for (uint32_t i = 1; i < keys.count; ++i) {
    auto part = GgufFile::open_alone(name->of(i + 1));
    if (!part.ok()) {
      return Error{part.error().code, position(i, keys.count) + " of a split model: " + part.error().message};
    }
    parts.push_back(std::move(*part));
  }
  return GgufFile::join(std::move(parts));
}

}  // namespace facet::model
