// Matmul tiles of float weights: panels and sweeps.
//
//   panel   some outputs of a weight as float32, one after the other in a thread's scratch memory, so that
//   all
//           rows of a tile share the work of widening them.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include "backends/onednn/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace facet::cpu {
namespace {

// Bytes of an output, and outputs in a panel: what fits in most of a first-level cache, between 4 and 16.
struct FloatPanel {
  size_t bytes;
  uint32_t outputs;

  explicit FloatPanel(uint32_t width) : bytes(round_up(size_t{width} * sizeof(float), 64)) {
    size_t fit = 20 * 1024 / bytes / 4 * 4;
    outputs = fit < 4 ? 4 : fit > 16 ? 16 : static_cast<uint32_t>(fit);
  }
};

// Covers rows x outputs with calls dot.run<R, C>(row, output), R rows by C outputs each.
template <int R, int C, typename Dot>
inline void sweep_outputs(const Dot& dot, uint32_t row, uint32_t outputs) {
  uint32_t c = 0;
  for (; c + C <= outputs; c += C) dot.template run<R, C>(row, c);
  if constexpr (C > 2) {
    for (; c + 2 <= outputs; c += 2) dot.template run<R, 2>(row, c);
  }
  for (; c < outputs; ++c) dot.template run<R, 1>(row, c);
}

template <typename Dot>
inline void sweep(const Dot& dot, uint32_t rows, uint32_t outputs) {
  uint32_t r = 0;
  for (; r + 4 <= rows; r += 4) sweep_outputs<4, 2>(dot, r, outputs);
  if (rows - r == 3) sweep_outputs<3, 2>(dot, r, outputs);
  if (rows - r == 2) sweep_outputs<2, 2>(dot, r, outputs);
  if (rows - r == 1) sweep_outputs<1, 4>(dot, r, outputs);
}

#if defined(__AVX2__)
inline float reduce(__m256 t) {
  __m256 a = _mm256_add_ps(t, _mm256_permute_ps(t, 0x4e));
  __m256 b = _mm256_add_ps(a, _mm256_permute_ps(a, 0xb1));
  return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1)));
}

// Four outputs at once, the same sums as reduce().
inline __m128 reduce4(__m256 a, __m256 b, __m256 c, __m256 d) {
  __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  __m256 low = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
  __m256 high = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
  __m256 all = _mm256_add_ps(low, high);
  return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
}

// lanes [R][C] to out.
template <int R, int C>
inline void store_outputs(const __m256 (&lanes)[R][C], float* out, size_t stride) {
  if constexpr (R == 4) {
    for (int c = 0; c < C; ++c) {
      __m128 four = reduce4(lanes[0][c], lanes[1][c], lanes[2][c], lanes[3][c]);
      out[c] = _mm_cvtss_f32(four);
      out[stride + c] = _mm_cvtss_f32(_mm_shuffle_ps(four, four, 1));
      out[2 * stride + c] = _mm_cvtss_f32(_mm_movehl_ps(four, four));
      out[3 * stride + c] = _mm_cvtss_f32(_mm_shuffle_ps(four, four, 3));
    }
  } else if constexpr (R == 1 && C == 4) {
    _mm_storeu_ps(out, reduce4(lanes[0][0], lanes[0][1], lanes[0][2], lanes[0][3]));
  } else {
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) out[r * stride + c] = reduce(lanes[r][c]);
    }
  }
}

// Eight floats from p, of which the first n are read; the rest is zero.
inline __m256i first_mask(uint32_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline void unpack_halves(const uint8_t* row, uint32_t width, float* out) {
  auto* halves = reinterpret_cast<const uint16_t*>(row);
  uint32_t i = 0;
  for (; i + 8 <= width; i += 8) {
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i))));
  }
  for (; i < width; ++i) out[i] = facet_f16_to_f32(halves[i]);
}

inline void unpack_brains(const uint8_t* row, uint32_t width, float* out) {
  auto* brains = reinterpret_cast<const uint16_t*>(row);
  uint32_t i = 0;
  for (; i + 8 <= width; i += 8) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(brains + i)));
    _mm256_storeu_ps(out + i, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16)));
  }
  for (; i < width; ++i) out[i] = facet_bf16_to_f32(brains[i]);
}

#elif defined(__ARM_NEON)
inline void unpack_halves(const uint8_t* row, uint32_t width, float* out) {
  auto* halves = reinterpret_cast<const uint16_t*>(row);
  uint32_t i = 0;
  for (; i + 4 <= width; i += 4) {
    vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + i))));
  }
  for (; i < width; ++i) out[i] = facet_f16_to_f32(halves[i]);
}

inline void unpack_brains(const uint8_t* row, uint32_t width, float* out) {
  auto* brains = reinterpret_cast<const uint16_t*>(row);
  uint32_t i = 0;
  for (; i + 4 <= width; i += 4) {
    vst1q_f32(out + i, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(brains + i), 16)));
  }
  for (; i < width; ++i) out[i] = facet_bf16_to_f32(brains[i]);
}
#endif

#if defined(__AVX2__) || defined(__ARM_NEON)
// Float tiles with `Dot`, which has run<R, C>().
template <typename Dot>
inline void matmul_float(const MatmulTile& tile) {
  const FloatPanel panel(tile.width);
  for (uint32_t first = 0; first < tile.outputs; first += panel.outputs) {
    const uint32_t count = tile.outputs - first < panel.outputs ? tile.outputs - first : panel.outputs;
    const uint8_t* weights = tile.weights + first * tile.weight_stride;
    if (tile.type == FACET_TYPE_F32) {
      sweep(Dot{tile, reinterpret_cast<const float*>(weights), tile.weight_stride, tile.out + first},
            tile.rows, count);
      continue;
    }
    for (uint32_t c = 0; c < count; ++c) {
      auto* out = reinterpret_cast<float*>(tile.scratch + c * panel.bytes);
      if (tile.type == FACET_TYPE_F16) {
        unpack_halves(weights + c * tile.weight_stride, tile.width, out);
      } else {
        unpack_brains(weights + c * tile.weight_stride, tile.width, out);
      }
    }
    sweep(Dot{tile, reinterpret_cast<const float*>(tile.scratch), panel.bytes, tile.out + first}, tile.rows,
          count);
  }
}
#endif

}  // namespace
}  // namespace facet::cpu
