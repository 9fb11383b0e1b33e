// What the AVX2 and the AVX-512 matmul share: panels, and lanes to outputs. `Set` gives the dot products:
// Set::Blocks<is signed, bytes from one block's q to the next>, Set::Super and Set::Float.
//
// In an unnamed namespace, and to be included only by files that are compiled for AVX2, F16C and FMA.
#pragma once

#include <immintrin.h>

#include "backends/onednn/panel.h"
#include "backends/onednn/unpack_avx2.h"

namespace facet::cpu {
namespace {

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

// Adds the minima's lanes, which are zero for formats that have none.
template <bool HasMins, int R, int C>
inline void add_mins(__m256 (&lanes)[R][C], const float* const* m, const float* const* s, uint32_t blocks) {
  for (int r = 0; r < R; ++r) {
    for (int c = 0; c < C; ++c) {
      __m256 mins = _mm256_setzero_ps();
      if constexpr (HasMins) {
        for (uint32_t b = 0; b < blocks; b += 8) {
          mins = _mm256_fmadd_ps(_mm256_loadu_ps(m[c] + b), _mm256_loadu_ps(s[r] + b), mins);
        }
      }
      lanes[r][c] = _mm256_add_ps(lanes[r][c], mins);
    }
  }
}

// Adds a super-block's sums, and its minima, to the lanes.
template <int R, int C>
inline void add_super_block(const __m256i (&sums)[R][C], uint32_t b, const std::byte* const* w,
                            const PanelRow& layout, const std::byte* const* x, const ActRow& row,
                            __m256 (&lanes)[R][C]) {
  for (int r = 0; r < R; ++r) {
    float dx = reinterpret_cast<const float*>(x[r] + row.scales)[b];
    __m256i xs = load_bytes(x[r] + row.sums + 32 * b);
    for (int c = 0; c < C; ++c) {
      float d = reinterpret_cast<const float*>(w[c] + layout.d)[b];
      float dmin = reinterpret_cast<const float*>(w[c] + layout.m)[b];
      __m256i min_sums = _mm256_madd_epi16(load_bytes(w[c] + layout.mins + 32 * b), xs);
      lanes[r][c] = _mm256_fmadd_ps(_mm256_set1_ps(d * dx), _mm256_cvtepi32_ps(sums[r][c]), lanes[r][c]);
      lanes[r][c] = _mm256_fnmadd_ps(_mm256_set1_ps(dmin * dx), _mm256_cvtepi32_ps(min_sums), lanes[r][c]);
    }
  }
}

// Calls panel(first output, outputs) for panel after panel.
template <typename Panel>
void each_panel(const MatmulTile& tile, uint32_t most, const Panel& panel) {
  for (uint32_t c = 0; c < tile.outputs; c += most) {
    panel(c, tile.outputs - c < most ? tile.outputs - c : most);
  }
}

enum class Form { kSigned, kUnsigned };

template <typename Set, typename Block, Form form>
void matmul_blocks(const MatmulTile& tile) {
  PanelRow layout(ActKind::kBlocks, tile.width);
  ActRow row(ActKind::kBlocks, tile.width);
  each_panel(tile, layout.outputs(), [&](uint32_t first, uint32_t count) {
    for (uint32_t c = 0; c < count; ++c) {
      auto* blocks = reinterpret_cast<const Block*>(tile.weights + (first + c) * tile.weight_stride);
      std::byte* panel = tile.scratch + c * layout.bytes;
      unpack_row(blocks, tile.width / kBlock, reinterpret_cast<int8_t*>(panel),
                 reinterpret_cast<float*>(panel + layout.d), reinterpret_cast<float*>(panel + layout.m));
    }
    auto* q = reinterpret_cast<const uint8_t*>(tile.scratch);
    sweep(typename Set::template Blocks<form == Form::kSigned, kBlock>{tile, q, layout.bytes, tile.scratch,
                                                                       layout, row, tile.out + first},
          tile.rows, count);
  });
}

// Q8_0's bytes are read where they are; only the scales are taken out.
template <typename Set>
void matmul_q8_0(const MatmulTile& tile) {
  PanelRow layout(ActKind::kBlocks, tile.width);
  ActRow row(ActKind::kBlocks, tile.width);
  each_panel(tile, layout.outputs(), [&](uint32_t first, uint32_t count) {
    const uint8_t* weights = tile.weights + first * tile.weight_stride;
    for (uint32_t c = 0; c < count; ++c) {
      auto* blocks = reinterpret_cast<const facet_block_q8_0*>(weights + c * tile.weight_stride);
      auto* d = reinterpret_cast<float*>(tile.scratch + c * layout.bytes + layout.d);
      uint32_t n = tile.width / kBlock, b = 0;
      for (; b < n; ++b) d[b] = half_to_float(blocks[b].d);
      for (; b % 8 != 0; ++b) d[b] = 0.0f;
    }
    sweep(
        typename Set::template Blocks<true, sizeof(facet_block_q8_0)>{
            tile, weights + offsetof(facet_block_q8_0, qs), tile.weight_stride, tile.scratch, layout, row,
            tile.out + first},
        tile.rows, count);
  });
}

template <typename Set, typename Block>
void matmul_super(const MatmulTile& tile) {
  PanelRow layout(ActKind::kSuperBlocks, tile.width);
  ActRow row(ActKind::kSuperBlocks, tile.width);
  each_panel(tile, layout.outputs(), [&](uint32_t first, uint32_t count) {
    for (uint32_t c = 0; c < count; ++c) {
      auto* blocks = reinterpret_cast<const Block*>(tile.weights + (first + c) * tile.weight_stride);
      std::byte* panel = tile.scratch + c * layout.bytes;
      for (uint32_t b = 0; b < tile.width / kSuperBlock; ++b) {
        unpack_fast(blocks[b], Super{reinterpret_cast<uint8_t*>(panel) + kSuperBlock * b,
                                     reinterpret_cast<int16_t*>(panel + layout.scales) + 128 * b,
                                     reinterpret_cast<int16_t*>(panel + layout.mins) + 16 * b,
                                     reinterpret_cast<float*>(panel + layout.d) + b,
                                     reinterpret_cast<float*>(panel + layout.m) + b});
      }
    }
    sweep(typename Set::Super{tile, tile.scratch, layout, row, tile.out + first}, tile.rows, count);
  });
}

template <typename Set, typename Unpack>
void matmul_wide(const MatmulTile& tile, const Unpack& unpack_output) {
  PanelRow layout(ActKind::kFloat, tile.width);
  each_panel(tile, layout.outputs(), [&](uint32_t first, uint32_t count) {
    for (uint32_t c = 0; c < count; ++c) {
      unpack_output(tile.weights + (first + c) * tile.weight_stride, tile.width,
                    reinterpret_cast<float*>(tile.scratch + c * layout.bytes));
    }
    sweep(typename Set::Float{tile, reinterpret_cast<const float*>(tile.scratch), layout.bytes,
                              tile.out + first},
          tile.rows, count);
  });
}

template <typename Set>
void matmul_f32(const MatmulTile& tile) {
  PanelRow layout(ActKind::kFloat, tile.width);
  each_panel(tile, layout.outputs(), [&](uint32_t first, uint32_t count) {
    auto* w = reinterpret_cast<const float*>(tile.weights + first * tile.weight_stride);
    sweep(typename Set::Float{tile, w, tile.weight_stride, tile.out + first}, tile.rows, count);
  });
}

template <typename Set>
void matmul_vector(const MatmulTile& tile) {
  switch (tile.type) {
    case FACET_TYPE_F32:
      return matmul_f32<Set>(tile);
    case FACET_TYPE_F16:
      return matmul_wide<Set>(tile, unpack_halves);
    case FACET_TYPE_BF16:
      return matmul_wide<Set>(tile, unpack_brains);
    case FACET_TYPE_Q4_0:
      return matmul_blocks<Set, facet_block_q4_0, Form::kUnsigned>(tile);
    case FACET_TYPE_Q4_1:
      return matmul_blocks<Set, facet_block_q4_1, Form::kUnsigned>(tile);
    case FACET_TYPE_Q5_0:
      return matmul_blocks<Set, facet_block_q5_0, Form::kUnsigned>(tile);
    case FACET_TYPE_Q5_1:
      return matmul_blocks<Set, facet_block_q5_1, Form::kUnsigned>(tile);
    case FACET_TYPE_Q8_0:
      return matmul_q8_0<Set>(tile);
    case FACET_TYPE_IQ4_NL:
      return matmul_blocks<Set, facet_block_iq4_nl, Form::kSigned>(tile);
    case FACET_TYPE_IQ4_XS:
      return matmul_blocks<Set, facet_block_iq4_xs, Form::kSigned>(tile);
    case FACET_TYPE_Q4_K:
      return matmul_super<Set, facet_block_q4_k>(tile);
    case FACET_TYPE_Q5_K:
      return matmul_super<Set, facet_block_q5_k>(tile);
    case FACET_TYPE_Q6_K:
      return matmul_super<Set, facet_block_q6_k>(tile);
    case FACET_TYPE_Q2_K:
      return matmul_super<Set, facet_block_q2_k>(tile);
    case FACET_TYPE_Q3_K:
      return matmul_super<Set, facet_block_q3_k>(tile);
  }
}

}  // namespace
}  // namespace facet::cpu
