#include "daemon/model/weights.h"

namespace facet::model {
namespace {

// "64 x 128", without the ones at the end.
std::string text(const std::array<uint64_t, 4>& dims) {
  size_t count = dims.size();
  while (count > 1 && dims[count - 1] == 1) --count;
  std::string all;
  for (size_t i = 0; i < std::max<size_t>(count, 2); ++i) {
    all += (i == 0 ? "" : " x ") + std::to_string(dims[i]);
  }
  return all;
}

}  // namespace

graph::Weight Weights::matrix(const std::string& name, uint64_t inputs, uint64_t outputs) {
  return get(name, {inputs, outputs, 1, 1}, FACET_ACCESS_DENSE, false);
}

graph::Weight Weights::stack(const std::string& name, uint64_t inputs, uint64_t outputs, uint64_t count) {
  return get(name, {inputs, outputs, count, 1}, FACET_ACCESS_DENSE, false);
}

graph::Weight Weights::vector(const std::string& name, uint64_t n) {
  return get(name, {n, 1, 1, 1}, FACET_ACCESS_DENSE, true);
}

graph::Weight Weights::table(const std::string& name, uint64_t width, uint64_t rows) {
  return get(name, {width, rows, 1, 1}, FACET_ACCESS_ROWS, false);
}

const GgufTensor* Weights::host_table(const std::string& name, uint64_t width, uint64_t rows) {
  return find(name, {width, rows, 1, 1}, false);
}

Result<void> Weights::check() const {
  if (error_) return *error_;
  return {};
}

graph::Weight Weights::get(const std::string& name, const Dims& dims, facet_access access, bool float_only) {
  auto known = known_.find(name);
  if (known != known_.end()) return known->second;

  // With the shape asked for even if the file has another, so that the builder can go on until check().
  facet_weight weight{};
  weight.size = sizeof weight;
  weight.name = name.c_str();
  weight.access = access;
  std::copy(dims.begin(), dims.end(), weight.dims);
  if (const GgufTensor* tensor = find(name, dims, float_only)) {
    weight.type = tensor->type;
    weight.data = tensor->data.data();
    weight.bytes = tensor->data.size();
  }
  graph::Weight result = builder_.weight(weight);
  known_.emplace(name, result);
  return result;
}

const GgufTensor* Weights::find(const std::string& name, const Dims& dims, bool float_only) {
  const GgufTensor* tensor = file_.tensor(name);
  if (tensor == nullptr) {
    fail(FACET_NOT_FOUND, "no tensor " + name);
    return nullptr;
  }
  if (tensor->dims != dims) {
    fail(FACET_MALFORMED,
         "tensor " + name + " is " + text(tensor->dims) + ", the metadata ask for " + text(dims));
    return nullptr;
  }
  if (float_only && tensor->type != FACET_TYPE_F32) {
    fail(FACET_UNSUPPORTED, "tensor " + name + " is not F32");
    return nullptr;
  }
  return tensor;
}

void Weights::fail(facet_status code, const std::string& message) {
  if (!error_) error_ = file_.error(code, message);
}

}  // namespace facet::model
