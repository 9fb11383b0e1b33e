// oneDNN's matmul for float32 weights, where it keeps the promise of equal rows.
//
// oneDNN chooses among several implementations by CPU and shape. Its brgemm ones sum each output in an order
// that does not depend on the number of rows; others do not. So a weight is multiplied by it only if a check
// of the weight's shape holds:
//
//   equal rows   a row has the same bits alone and among 2, 8, 17, 64 and the most that a tile has, and for
//                every number of rows up to that oneDNN would take a brgemm implementation.
//
// The sums differ from those of kernels.h, and the numerics name says so. It is a property of the device,
// which uses oneDNN or not; within it the weights whose shape fails go to the kernels of kernels.h. Which
// those are depends on CPU and oneDNN's version alone, so a file's tokens are the same at every start.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backends/onednn/kernels.h"

namespace facet::cpu {

class Dense {
 public:
  // Wider weights, of which a check would take long, count as unequal.
  static constexpr uint32_t kMostWidth = 65536;

  explicit Dense(uint32_t workers);
  ~Dense();

  // Whether rows are equal in some common shapes; false also if oneDNN cannot run here at all.
  bool works();

  // Whether rows are equal with a weight [width, outputs]. Takes some milliseconds at the first call for the
  // shape of a tile, and remembers the answer. From any thread. Throws what oneDNN throws.
  bool has_equal_rows(uint32_t width, uint32_t outputs);

  // A tile of type F32, computed on the calling thread, which is worker number `worker`. Throws what oneDNN
  // throws. Primitives are kept per worker, shape and number of rows; at most kMostPrimitives each.
  void matmul(uint32_t worker, const MatmulTile& tile);

  // "onednn-2.6-brgemm"
  static std::string name();

 private:
  static constexpr size_t kMostPrimitives = 128;
  struct Worker;

  bool tile_has_equal_rows(uint32_t width, uint32_t outputs);

  std::vector<std::unique_ptr<Worker>> workers_;
  std::mutex mutex_;                                       // of what follows
  std::map<std::pair<uint32_t, uint32_t>, bool> checked_;  // by width and outputs of a tile
};

}  // namespace facet::cpu
