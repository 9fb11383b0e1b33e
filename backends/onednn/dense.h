// oneDNN's matmul for float32 weights, where it keeps the promise of equal rows.
//
// oneDNN chooses among several implementations by CPU and shape. Its brgemm ones sum each output in an order
// that does not depend on the number of rows; others do not. So it is used only if, when the device is
// opened, the implementation is a brgemm one and rows computed alone, in threes and among 64 have the same
// bits. The sums differ from those of kernels.h, and the numerics name says so.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backends/onednn/kernels.h"

namespace facet::cpu {

class Dense {
 public:
  explicit Dense(uint32_t workers);
  ~Dense();

  // Whether rows are equal, as above. Takes some milliseconds; false also if oneDNN cannot run here at all.
  bool rows_are_equal();

  // A tile of type F32, computed on the calling thread, which is worker number `worker`. Throws what oneDNN
  // throws. Primitives are kept per worker, shape and number of rows; at most kMostPrimitives each.
  void matmul(uint32_t worker, const MatmulTile& tile);

  // "onednn-2.6-brgemm"
  static std::string name();

 private:
  static constexpr size_t kMostPrimitives = 128;
  struct Worker;

  bool has_equal_rows(uint32_t width, uint32_t outputs);

  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace facet::cpu
