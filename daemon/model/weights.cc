#include "daemon/model/weights.h"

namespace facet::model {

graph::Weight Weights::matrix(const std::string& name, uint64_t inputs, uint64_t outputs) {
  return get(name, inputs, outputs, FACET_ACCESS_DENSE, false);
}

graph::Weight Weights::vector(const std::string& name, uint64_t n) {
  return get(name, n, 1, FACET_ACCESS_DENSE, true);
}

graph::Weight Weights::table(const std::string& name, uint64_t width, uint64_t rows) {
  return get(name, width, rows, FACET_ACCESS_ROWS, false);
}

Result<void> Weights::check() const {
  if (error_) return *error_;
  return {};
}

graph::Weight Weights::get(const std::string& name, uint64_t columns, uint64_t rows, facet_access access,
                           bool float_only) {
  auto known = known_.find(name);
  if (known != known_.end()) return known->second;

  // With the shape asked for even if the file has another, so that the builder can go on until check().
  facet_weight weight{};
  weight.size = sizeof weight;
  weight.name = name.c_str();
  weight.access = access;
  weight.dims[0] = columns;
  weight.dims[1] = rows;
  weight.dims[2] = weight.dims[3] = 1;
  const GgufTensor* tensor = file_.tensor(name);
  if (tensor == nullptr) {
    fail(FACET_NOT_FOUND, "no tensor " + name);
  } else {
    weight.type = tensor->type;
    weight.data = tensor->data.data();
    weight.bytes = tensor->data.size();
    if (tensor->dims != std::array<uint64_t, 4>{columns, rows, 1, 1}) {
      auto text = [](uint64_t a, uint64_t b) { return std::to_string(a) + " x " + std::to_string(b); };
      bool more = tensor->dims[2] != 1 || tensor->dims[3] != 1;
      fail(FACET_MALFORMED, "tensor " + name + " is " + text(tensor->dims[0], tensor->dims[1]) +
                                (more ? " x ..." : "") + ", the metadata ask for " + text(columns, rows));
    } else if (float_only && tensor->type != FACET_TYPE_F32) {
      fail(FACET_UNSUPPORTED, "tensor " + name + " is not F32");
    }
  }
  graph::Weight result = builder_.weight(weight);
  known_.emplace(name, result);
  return result;
}

void Weights::fail(facet_status code, const std::string& message) {
  if (!error_) error_ = file_.error(code, message);
}

}  // namespace facet::model
