// Matmul tiles with AVX2 and FMA. Compiled with -mavx2 -mfma -mf16c; called only where the CPU has them.
#include "backends/onednn/float_matmul.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_avx2.h"
#include "backends/onednn/wide_matmul.h"

namespace facet::cpu {
namespace {

struct FloatDot {
  const MatmulTile& tile;
  const float* w;   // of the panel's first output
  size_t w_stride;  // bytes
  float* out;

  template <int R, int C>
  void run(uint32_t r0, uint32_t c0) const {
    const float *wp[C], *x[R];
    for (int c = 0; c < C; ++c) {
      wp[c] = reinterpret_cast<const float*>(reinterpret_cast<const std::byte*>(w) + (c0 + c) * w_stride);
    }
    for (int r = 0; r < R; ++r) x[r] = reinterpret_cast<const float*>(tile.acts + (r0 + r) * tile.act_stride);
    __m256 lanes[R][C];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) lanes[r][c] = _mm256_setzero_ps();
    }
    uint32_t i = 0;
    for (; i + 8 <= tile.width; i += 8) {
      __m256 wv[C];
      for (int c = 0; c < C; ++c) wv[c] = _mm256_loadu_ps(wp[c] + i);
      for (int r = 0; r < R; ++r) {
        __m256 xv = _mm256_loadu_ps(x[r] + i);
        for (int c = 0; c < C; ++c) lanes[r][c] = _mm256_fmadd_ps(wv[c], xv, lanes[r][c]);
      }
    }
    if (i < tile.width) {
      __m256i mask = first_mask(tile.width - i);
      for (int r = 0; r < R; ++r) {
        __m256 xv = _mm256_maskload_ps(x[r] + i, mask);
        for (int c = 0; c < C; ++c) {
          lanes[r][c] = _mm256_fmadd_ps(_mm256_maskload_ps(wp[c] + i, mask), xv, lanes[r][c]);
        }
      }
    }
    store_outputs(lanes, out + r0 * tile.out_stride + c0, tile.out_stride);
  }
};

}  // namespace

void matmul_avx2(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_float<FloatDot>(tile);
  matmul_quantised<Avx2Wide>(tile);
}

}  // namespace facet::cpu
