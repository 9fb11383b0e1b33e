// Matmul tiles with NEON, which every aarch64 CPU has.
#include "backends/onednn/float_matmul.h"
#include "backends/onednn/lanes_neon.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_matmul.h"
#include "backends/onednn/wide_neon.h"

namespace facet::cpu {
namespace {

struct FloatDot {
  const MatmulTile& tile;
  const float* w;   // of the panel's first output
  size_t w_stride;  // bytes
  float* out;

  template <int R, int C>
  void run(uint32_t r0, uint32_t c0) const {
    using L = NeonLanes;
    const float *wp[C], *x[R];
    for (int c = 0; c < C; ++c) {
      wp[c] = reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(w) + (c0 + c) * w_stride);
    }
    for (int r = 0; r < R; ++r) x[r] = reinterpret_cast<const float*>(tile.acts + (r0 + r) * tile.act_stride);
    L::V lanes[R][C];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) lanes[r][c] = L::set(0.0f);
    }
    auto add = [&](const auto& eight) {
      L::V wv[C];
      for (int c = 0; c < C; ++c) wv[c] = eight(wp[c]);
      for (int r = 0; r < R; ++r) {
        const L::V xv = eight(x[r]);
        for (int c = 0; c < C; ++c) lanes[r][c] = L::fma(wv[c], xv, lanes[r][c]);
      }
    };
    uint32_t i = 0;
    for (; i + 8 <= tile.width; i += 8) add([&](const float* p) { return L::load(p + i); });
    const uint32_t left = tile.width - i;
    if (left > 0) add([&](const float* p) { return L::load_first(p + i, left); });
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) out[(r0 + r) * tile.out_stride + c0 + c] = L::reduce(lanes[r][c]);
    }
  }
};

}  // namespace

void matmul_neon(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_float<FloatDot>(tile);
  matmul_quantised<NeonWide>(tile);
}

}  // namespace facet::cpu
