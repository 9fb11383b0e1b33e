// Matmul tiles with AVX-512 VNNI: two outputs, or two blocks, side by side in a register, in the same 8 lanes
// each. Compiled with -mavx512{f,bw,dq,vl,vnni} -mfma -mf16c; called only where the CPU has them.
#include "backends/onednn/matmul_vector.h"
#include "backends/onednn/sets.h"

namespace facet::cpu {
namespace {

inline __m512i both(__m256i a, __m256i b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}
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
    constexpr int P = (C + 1) / 2;  // pairs of outputs; an odd one is paired with itself
    constexpr int kLast = C - 1;
    const __m512i offset = _mm512_set1_epi8(static_cast<char>(0x80));
    __m512 wide[R][P];
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < P; ++p) wide[r][p] = _mm512_setzero_ps();
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
        const size_t at = (b0 + b) * Stride;
        __m512i wq[P];
        for (int p = 0; p < P; ++p) {
          wq[p] = both(load_bytes(w[2 * p] + at), load_bytes(w[2 * p < kLast ? 2 * p + 1 : kLast] + at));
          if constexpr (Signed) wq[p] = _mm512_xor_si512(wq[p], offset);  // + 128: now unsigned
        }
        for (int r = 0; r < R; ++r) {
          __m512i xq = _mm512_broadcast_i64x4(load_bytes(x[r] + (b0 + b) * kBlock));
          __m512i surplus = _mm512_setzero_si512();
          if constexpr (Signed) surplus = _mm512_dpbusd_epi32(surplus, offset, xq);
          for (int p = 0; p < P; ++p) {
            __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), wq[p], xq);
            if constexpr (Signed) sums = _mm512_sub_epi32(sums, surplus);
            __m512 scale = both(_mm256_broadcast_ss(&scales[r][2 * p][b]),
                                _mm256_broadcast_ss(&scales[r][2 * p < kLast ? 2 * p + 1 : kLast][b]));
            wide[r][p] = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(sums), wide[r][p]);
          }
        }
      }
    }
    __m256 lanes[R][C];
    split(wide, lanes);
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
      __m512i wide[R][C];
      for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) wide[r][c] = _mm512_setzero_si512();
      }
      for (uint32_t g = 8 * b; g < 8 * b + 8; g += 2) {
        for (int c = 0; c < C; ++c) {
          __m512i q = _mm512_loadu_si512(w[c] + kBlock * g);
          __m512i scale = _mm512_loadu_si512(w[c] + layout.scales + kBlock * g);
          for (int r = 0; r < R; ++r) {
            __m512i pairs = _mm512_maddubs_epi16(q, _mm512_loadu_si512(x[r] + kBlock * g));
            wide[r][c] = _mm512_add_epi32(wide[r][c], _mm512_madd_epi16(pairs, scale));
          }
        }
      }
      __m256i sums[R][C];
      for (int r = 0; r < R; ++r) {
        for (int c = 0; c < C; ++c) {
          sums[r][c] =
              _mm256_add_epi32(_mm512_castsi512_si256(wide[r][c]), _mm512_extracti64x4_epi64(wide[r][c], 1));
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

struct Avx512Set {
  template <bool Signed, size_t Stride>
  using Blocks = BlocksDot<Signed, Stride>;
  using Super = SuperDot;
  using Float = FloatDot;
};

}  // namespace

void matmul_avx512(const MatmulTile& tile) {
  matmul_vector<Avx512Set>(tile);
}

}  // namespace facet::cpu
