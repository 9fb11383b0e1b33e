#include "daemon/model/config.h"

#include <cmath>

namespace facet::model {
namespace {

template <typename T>
Result<T> bounded(const GgufFile& file, const std::string& key, T value, T least, T most) {
  if (value >= least && value <= most) return value;
  return file.error(FACET_MALFORMED, "key " + key + " is " + std::to_string(value) + ", must be from " +
                                         std::to_string(least) + " to " + std::to_string(most));
}

}  // namespace

Result<uint32_t> vocabulary_size(const GgufFile& file) {
  const GgufTensor* embedding = file.tensor("token_embd.weight");
  if (embedding == nullptr) return file.error(FACET_NOT_FOUND, "no tensor token_embd.weight");
  FACET_TRY(auto tokens, file.strings("tokenizer.ggml.tokens"));
  if (embedding->dims[1] != tokens.size()) {
    return file.error(FACET_MALFORMED, "tensor token_embd.weight has " + std::to_string(embedding->dims[1]) +
                                           " rows, the vocabulary " + std::to_string(tokens.size()) +
                                           " tokens");
  }
  return static_cast<uint32_t>(tokens.size());
}

Result<uint32_t> ConfigReader::number(const std::string& name, uint32_t least, uint32_t most) const {
  FACET_TRY(uint32_t value, file_.u32(key(name)));
  return bounded(file_, key(name), value, least, most);
}

Result<uint32_t> ConfigReader::number_or(const std::string& name, uint32_t least, uint32_t most,
                                         uint32_t missing) const {
  if (file_.entry(key(name)) == nullptr) return missing;
  return number(name, least, most);
}

Result<std::vector<uint32_t>> ConfigReader::numbers(const std::string& name, uint32_t least, uint32_t most,
                                                    uint32_t count) const {
  FACET_TRY(GgufIntegers integers, file_.integers(key(name)));
  if (integers.size() != count) {
    return error(name,
                 "has " + std::to_string(integers.size()) + " elements, must have " + std::to_string(count));
  }
  std::vector<uint32_t> values;
  for (uint32_t i = 0; i < count; ++i) {
    auto value =
        bounded<int64_t>(file_, key(name) + " [" + std::to_string(i) + "]", integers[i], least, most);
    if (!value.ok()) return value.error();
    values.push_back(static_cast<uint32_t>(*value));
  }
  return values;
}

Result<std::vector<uint32_t>> ConfigReader::number_or_numbers(const std::string& name, uint32_t least,
                                                              uint32_t most, uint32_t count) const {
  const GgufEntry* entry = file_.entry(key(name));
  if (entry != nullptr && entry->type == GgufType::kArray) return numbers(name, least, most, count);
  FACET_TRY(uint32_t value, number(name, least, most));
  return std::vector<uint32_t>(count, value);
}

Result<float> ConfigReader::real(const std::string& name, float least, float most) const {
  FACET_TRY(float value, file_.f32(key(name)));
  return bounded(file_, key(name), value, least, most);
}

Result<float> ConfigReader::real_or(const std::string& name, float least, float most, float missing) const {
  if (file_.entry(key(name)) == nullptr) return missing;
  return real(name, least, most);
}

}  // namespace facet::model
