// Matmul tiles with AVX2 and FMA. Compiled with -mavx2 -mfma -mf16c; called only where the CPU has them.
#include "backends/onednn/matmul_vector.h"
#include "backends/onednn/sets.h"

namespace facet::cpu {
namespace {

// Signed: the weights use all 8 bits (m = 0). Stride: bytes from one block's q to the next.
template <bool Signed, size_t Stride>
struct BlocksDot {
  const MatmulTile& tile;
  const uint8_t* q;  // of the panel's first output
  size_t q_stride;
  const std::byte* panel;
  PanelRow layout;
  ActRow row;
  float* out;

  template <int R, int C>
  void run(uint32_t r0, uint32_t c0) const {
    const uint8_t* w[C];
    const float *d[C], *m[C], *dx[R], *s[R];
    const std::byte* x[R];
    for (int c = 0; c < C; ++c) {
      w[c] = q + (c0 + c) * q_stride;
      d[c] = reinterpret_cast<const float*>(panel + (c0 + c) * layout.bytes + layout.d);
      m[c] = reinterpret_cast<const float*>(panel + (c0 + c) * layout.bytes + layout.m);
    }
    for (int r = 0; r < R; ++r) {
      x[r] = tile.acts + (r0 + r) * tile.act_stride;
      dx[r] = reinterpret_cast<const float*>(x[r] + row.scales);
      s[r] = reinterpret_cast<const float*>(x[r] + row.sums);
    }
    const uint32_t blocks = tile.width / kBlock;
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 lanes[R][C];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) lanes[r][c] = _mm256_setzero_ps();
    }
    for (uint32_t b0 = 0; b0 < blocks; b0 += 8) {
      alignas(32) float scales[R][C][8];
      for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) {
          _mm256_store_ps(scales[r][c],
                          _mm256_mul_ps(_mm256_loadu_ps(d[c] + b0), _mm256_loadu_ps(dx[r] + b0)));
        }
      }
      const uint32_t n = blocks - b0 < 8 ? blocks - b0 : 8;
      for (uint32_t b = 0; b < n; ++b) {
        __m256i wq[C], magnitude[C];
        for (int c = 0; c < C; ++c) {
          wq[c] = load_bytes(w[c] + (b0 + b) * Stride);
          if constexpr (Signed) magnitude[c] = _mm256_abs_epi8(wq[c]);
        }
        for (int r = 0; r < R; ++r) {
          __m256i xq = load_bytes(x[r] + (b0 + b) * kBlock);
          for (int c = 0; c < C; ++c) {
            __m256i pairs;
            if constexpr (Signed) {
              pairs = _mm256_maddubs_epi16(magnitude[c], _mm256_sign_epi8(xq, wq[c]));
            } else {
              pairs = _mm256_maddubs_epi16(wq[c], xq);
            }
            __m256 sum = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, ones));
            lanes[r][c] = _mm256_fmadd_ps(_mm256_broadcast_ss(&scales[r][c][b]), sum, lanes[r][c]);
          }
        }
      }
    }
    add_mins<!Signed>(lanes, m, s, blocks);
    store_outputs(lanes, out + r0 * tile.out_stride + c0, tile.out_stride);
  }
};

struct SuperDot {
  const MatmulTile& tile;
  const std::byte* panel;
  PanelRow layout;
  ActRow row;
  float* out;

  template <int R, int C>
  void run(uint32_t r0, uint32_t c0) const {
    const std::byte *w[C], *x[R];
    for (int c = 0; c < C; ++c) w[c] = panel + (c0 + c) * layout.bytes;
    for (int r = 0; r < R; ++r) x[r] = tile.acts + (r0 + r) * tile.act_stride;
    __m256 lanes[R][C];
    for (int r = 0; r < R; ++r) {
      for (int c = 0; c < C; ++c) lanes[r][c] = _mm256_setzero_ps();
    }
    for (uint32_t b = 0; b < tile.width / kSuperBlock; ++b) {
      __m256i sums[R][C];
      for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) sums[r][c] = _mm256_setzero_si256();
      }
      for (uint32_t g = 8 * b; g < 8 * b + 8; ++g) {
        for (int c = 0; c < C; ++c) {
          __m256i q = load_bytes(w[c] + kBlock * g);
          __m256i scale = load_bytes(w[c] + layout.scales + kBlock * g);
          for (int r = 0; r < R; ++r) {
            __m256i pairs = _mm256_maddubs_epi16(q, load_bytes(x[r] + kBlock * g));
            sums[r][c] = _mm256_add_epi32(sums[r][c], _mm256_madd_epi16(pairs, scale));
          }
        }
      }
      add_super_block(sums, b, w, layout, x, row, lanes);
    }
    store_outputs(lanes, out + r0 * tile.out_stride + c0, tile.out_stride);
  }
};

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

struct Avx2Set {
  template <bool Signed, size_t Stride>
  using Blocks = BlocksDot<Signed, Stride>;
  using Super = SuperDot;
  using Float = FloatDot;
};

}  // namespace

void matmul_avx2(const MatmulTile& tile) {
  matmul_vector<Avx2Set>(tile);
}

}  // namespace facet::cpu
