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

Result<uint32_t> ConfigReader::number(const std::string& name, uint32_t least, uint32_t most) const {
  FACET_TRY(uint32_t value, file_.u32(key(name)));
  return bounded(file_, key(name), value, least, most);
}

Result<uint32_t> ConfigReader::number_or(const std::string& name, uint32_t least, uint32_t most,
                                         uint32_t missing) const {
  if (file_.entry(key(name)) == nullptr) return missing;
  return number(name, least, most);
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
