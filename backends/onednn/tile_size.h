// How large the tiles are that a product of many rows is cut into. A tile is that of kernels.h; the last ones
// have what is left.
#pragma once

#include <algorithm>

#include "backends/onednn/kernels.h"

namespace facet::cpu {

constexpr uint32_t kTileOutputs = 64;

// As many rows, of act_stride bytes each, as half of a second-level cache holds.
constexpr uint32_t tile_rows(size_t act_stride) {
  return static_cast<uint32_t>(std::clamp<size_t>(256 * 1024 / act_stride / 8 * 8, 32, kMaxTileRows));
}

}  // namespace facet::cpu
