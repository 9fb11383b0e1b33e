// Matmul tiles with AVX-512 VNNI. Compiled with -mavx512{f,bw,dq,vl,vnni} -mfma -mf16c; called only where the
// CPU has them. Of float weights, two outputs side by side in a register, in 8 lanes each.
#include "backends/onednn/float_matmul.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_avx512.h"
#include "backends/onednn/wide_matmul.h"

namespace facet::cpu {
namespace {

inline __m512 both(__m256 a, __m256 b) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(a), b, 1);
}

// Pairs of outputs to outputs.
template <int R, int P, int C>
inline void split(const __m512 (&wide)[R][P], __m256 (&lanes)[R][C]) {
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      lanes[r][c] =
          c % 2 == 0 ? _mm512_castps512_ps256(wide[r][c / 2]) : _mm512_extractf32x8_ps(wide[r][c / 2], 1);
    }
  }
}

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
    constexpr int P = (C + 1) / 2;  // pairs of outputs; an odd one is paired with itself
    constexpr int kLast = C - 1;
    __m512 wide[R][P];
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < P; ++p) wide[r][p] = _mm512_setzero_ps();
    }
    for (uint32_t i = 0; i < tile.width; i += 8) {
      const uint32_t left = tile.width - i;
      const __mmask8 mask = static_cast<__mmask8>(left < 8 ? (1u << left) - 1 : 0xffu);
      __m512 wv[P];
      for (int p = 0; p < P; ++p) {
        wv[p] = both(_mm256_maskz_loadu_ps(mask, wp[2 * p] + i),
                     _mm256_maskz_loadu_ps(mask, wp[2 * p < kLast ? 2 * p + 1 : kLast] + i));
      }
      for (int r = 0; r < R; ++r) {
        __m512 xv = _mm512_broadcast_f32x8(_mm256_maskz_loadu_ps(mask, x[r] + i));
        for (int p = 0; p < P; ++p) wide[r][p] = _mm512_fmadd_ps(wv[p], xv, wide[r][p]);
      }
    }
    __m256 lanes[R][C];
    split(wide, lanes);
    store_outputs(lanes, out + r0 * tile.out_stride + c0, tile.out_stride);
  }
};

}  // namespace

void matmul_avx512(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_float<FloatDot>(tile);
  matmul_quantised<Avx512Wide>(tile);
}

}  // namespace facet::cpu
