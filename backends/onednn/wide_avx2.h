// Eight outputs side by side in AVX2 registers (formats.h says what for).
//
// In an unnamed namespace, and to be included only by files that are compiled for AVX2, F16C and FMA.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "backends/onednn/output_rows.h"

namespace facet::cpu {
namespace {

struct Avx2Wide {
  using I = __m256i;
  using F = __m256;
  static constexpr uint32_t kOutputs = 8;
  static constexpr int kRows = 4, kWides = 1;
  static constexpr uint32_t kFewSums = 8;  // see few_rows()
  static constexpr int kByteZero = 0;

  static I load(const void* p) { return _mm256_loadu_si256(static_cast<const I*>(p)); }
  static I set(uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  static I bit_and(I a, I b) { return _mm256_and_si256(a, b); }
  static I bit_or(I a, I b) { return _mm256_or_si256(a, b); }
  template <int n>
  static I right(I a) {
    return _mm256_srli_epi32(a, n);
  }
  template <int n>
  static I left(I a) {
    return _mm256_slli_epi32(a, n);
  }
  template <int n>
  static I right_signed(I a) {
    return _mm256_srai_epi32(a, n);
  }
  static I right(I a, int n) { return _mm256_srl_epi32(a, _mm_cvtsi32_si128(n)); }
  static I spread_byte(I a, uint32_t number) {
    const I low = _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    return _mm256_shuffle_epi8(a, _mm256_add_epi32(low, set(0x01010101u * number)));
  }
  static I add_where(I a, I bytes, I select, int8_t value) {
    I set_bits = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, select), select);
    return _mm256_add_epi8(a, _mm256_and_si256(set_bits, _mm256_set1_epi8(value)));
  }

  FACET_CPU_INLINE static void load_dwords(const OutputRows& rows, size_t offset, I* out) {
    I z[4];
    FACET_CPU_UNROLL for (size_t i = 0; i < 4; ++i) {
      auto part = [&](size_t r) FACET_CPU_LAMBDA {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.row(r) + offset));
      };
      z[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(part(i)), part(i + 4), 1);
    }
    I low01 = _mm256_unpacklo_epi32(z[0], z[1]), high01 = _mm256_unpackhi_epi32(z[0], z[1]);
    I low23 = _mm256_unpacklo_epi32(z[2], z[3]), high23 = _mm256_unpackhi_epi32(z[2], z[3]);
    out[0] = _mm256_unpacklo_epi64(low01, low23);
    out[1] = _mm256_unpackhi_epi64(low01, low23);
    out[2] = _mm256_unpacklo_epi64(high01, high23);
    out[3] = _mm256_unpackhi_epi64(high01, high23);
  }

  static I look_up(const int8_t* table, I bytes) {
    __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), bytes);
  }
  static I byte(I a) { return a; }

  static I four(const int8_t* x) {
    int value;
    std::memcpy(&value, x, sizeof value);
    return _mm256_set1_epi32(value);
  }
  // Pairs of products stay below 2^15: 2 * 63 * 127, and 2 * 128 * 127 in dot_byte().
  static I dot(I sums, I w, I x) {
    I pairs = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static I dot_byte(I sums, I w, I x) {
    I pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }

  static F set(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F a) { _mm256_storeu_ps(p, a); }
  static void store_first(float* p, uint32_t n, F a) {
    _mm256_maskstore_ps(
        p,
        _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
        a);
  }
  static F to_float(I a) { return _mm256_cvtepi32_ps(a); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F halves(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <size_t size>
  FACET_CPU_INLINE static void halves_of_8(const OutputRows& rows, size_t field, F (*out)[2]) {
    uint16_t bits[8][8];
    FACET_CPU_UNROLL for (uint32_t r = 0; r < 8; ++r) {
      const uint8_t* p = rows.row(r) + field;
      FACET_CPU_UNROLL for (uint32_t b = 0; b < 8; ++b) std::memcpy(&bits[b][r], p + b * size, 2);
    }
    FACET_CPU_UNROLL for (uint32_t b = 0; b < 8; ++b) out[b][0] = halves(bits[b]);
  }
  static F halves(I a) {
    I low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
    I packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
    return _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
  }
};

}  // namespace
}  // namespace facet::cpu
