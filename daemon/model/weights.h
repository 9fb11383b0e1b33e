// The tensors of a model file, handed to a program's builder by name and shape.
//
// A family's file asks for each tensor with the shape that its config implies. So that such a file can read
// like a formula, asking never fails: the first tensor that is missing, has another shape or a type that does
// not serve is remembered, and check() gives that error before the program is built. What is asked for twice
// is one weight.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "daemon/base/result.h"
#include "daemon/graph/program.h"
#include "daemon/model/gguf.h"

namespace facet::model {

class Weights {
 public:
  // Both outlive this object; the file also outlives the program.
  Weights(const GgufFile& file, graph::Builder& builder) : file_(file), builder_(builder) {}

  // A matrix for matmul: `outputs` rows of `inputs` elements, of any type.
  graph::Weight matrix(const std::string& name, uint64_t inputs, uint64_t outputs);
  // `count` such matrices, one after the other.
  graph::Weight stack(const std::string& name, uint64_t inputs, uint64_t outputs, uint64_t count);
  // A vector of n float32.
  graph::Weight vector(const std::string& name, uint64_t n);
  // The same matrix read by rows only.
  graph::Weight table(const std::string& name, uint64_t width, uint64_t rows);

  // The tensor itself, for a table whose rows the host reads; nullptr if check() will fail.
  const GgufTensor* host_table(const std::string& name, uint64_t width, uint64_t rows);

  bool has(const std::string& name) const { return file_.tensor(name) != nullptr; }
  // The first error, if one of the calls above met one.
  Result<void> check() const;

 private:
  using Dims = std::array<uint64_t, 4>;
  graph::Weight get(const std::string& name, const Dims& dims, facet_access access, bool float_only);
  const GgufTensor* find(const std::string& name, const Dims& dims, bool float_only);
  void fail(facet_status code, const std::string& message);

  const GgufFile& file_;
  graph::Builder& builder_;
  std::map<std::string, graph::Weight> known_;
  std::optional<Error> error_;
};

}  // namespace facet::model
