// Sixteen outputs side by side in AVX-512 registers, with the dot products of VNNI (formats.h says what for).
//
// In an unnamed namespace, and to be included only by files that are compiled for AVX-512 F, BW, DQ, VL,
// VNNI.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "backends/onednn/output_rows.h"

namespace facet::cpu {
namespace {

struct Avx512Wide {
  using I = __m512i;
  using F = __m512;
  static constexpr uint32_t kOutputs = 16;
  // Rows of activations and wides of outputs that are multiplied at a time.
  static constexpr int kRows = 6, kWides = 2;
  static constexpr uint32_t kFewSums = 16;  // see few_rows()
  static constexpr int kByteZero = 128;     // see byte()

  static I load(const void* p) { return _mm512_loadu_si512(p); }
  static I set(uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
  static I bit_and(I a, I b) { return _mm512_and_si512(a, b); }
  static I bit_or(I a, I b) { return _mm512_or_si512(a, b); }
  template <int n>
  static I right(I a) {
    return _mm512_srli_epi32(a, n);
  }
  template <int n>
  static I left(I a) {
    return _mm512_slli_epi32(a, n);
  }
  template <int n>
  static I right_signed(I a) {
    return _mm512_srai_epi32(a, n);
  }
  static I right(I a, int n) { return _mm512_srl_epi32(a, _mm_cvtsi32_si128(n)); }
  // Byte `number` of each output, four times.
  static I spread_byte(I a, uint32_t number) {
    const I low = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    return _mm512_shuffle_epi8(a, _mm512_add_epi32(low, set(0x01010101u * number)));
  }
  // a, and `value` more in the bytes where the bit of `select` is set.
  static I add_where(I a, I bytes, I select, int8_t value) {
    return _mm512_mask_add_epi8(a, _mm512_test_epi8_mask(bytes, select), a, _mm512_set1_epi8(value));
  }

  // Dword k of the 16 bytes at `offset` of all outputs, for k in 0..3.
  FACET_CPU_INLINE static void load_dwords(const OutputRows& rows, size_t offset, I* out) {
    I z[4];
    FACET_CPU_UNROLL for (size_t i = 0; i < 4; ++i) {
      auto part = [&](size_t r) FACET_CPU_LAMBDA {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.row(r) + offset));
      };
      // A broadcast takes no shuffle where it comes from memory.
      I a = _mm512_castsi128_si512(part(i));
      a = _mm512_mask_broadcast_i32x4(a, 0x00f0, part(i + 4));
      a = _mm512_mask_broadcast_i32x4(a, 0x0f00, part(i + 8));
      z[i] = _mm512_mask_broadcast_i32x4(a, 0xf000, part(i + 12));
    }
    I low01 = _mm512_unpacklo_epi32(z[0], z[1]), high01 = _mm512_unpackhi_epi32(z[0], z[1]);
    I low23 = _mm512_unpacklo_epi32(z[2], z[3]), high23 = _mm512_unpackhi_epi32(z[2], z[3]);
    out[0] = _mm512_unpacklo_epi64(low01, low23);
    out[1] = _mm512_unpackhi_epi64(low01, low23);
    out[2] = _mm512_unpacklo_epi64(high01, high23);
    out[3] = _mm512_unpackhi_epi64(high01, high23);
  }

  // Bytes 0..15 through a table of 16 bytes.
  static I look_up(const int8_t* table, I bytes) {
    __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), bytes);
  }
  // Signed bytes as dot_byte() reads them: with kByteZero added.
  static I byte(I a) { return _mm512_xor_si512(a, set(0x80808080u)); }

  // Four int8 for all outputs.
  static I four(const int8_t* x) {
    int value;
    std::memcpy(&value, x, sizeof value);
    return _mm512_set1_epi32(value);
  }
  // sums + w[0..3] * x[0..3] per output: w from 0 to 63 in dot(), of byte() in dot_byte(); x of four().
  static I dot(I sums, I w, I x) { return _mm512_dpbusd_epi32(sums, w, x); }
  static I dot_byte(I sums, I w, I x) { return dot(sums, w, x); }

  static F set(float x) { return _mm512_set1_ps(x); }
  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static void store_first(float* p, uint32_t n, F a) {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), a);
  }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F halves(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  // A 16-bit field at `field` of 8 blocks of `size` bytes: [block] floats.
  template <size_t size>
  FACET_CPU_INLINE static void halves_of_8(const OutputRows& rows, size_t field, F (*out)[2]) {
    constexpr uint32_t kEach = size * 3 + 2 <= 64 ? 4 : size * 2 + 2 <= 64 ? 3 : 2;  // that 64 bytes hold
    constexpr auto w = static_cast<short>(size / 2);
    // Lane b: the field of block b, eight times.
    const I number = _mm512_inserti32x4(
        _mm512_inserti32x4(_mm512_inserti32x4(_mm512_setzero_si512(), _mm_set1_epi16(w), 1),
                           _mm_set1_epi16(2 * w), 2),
        _mm_set1_epi16(3 * w), 3);
    FACET_CPU_UNROLL for (uint32_t block = 0; block < 8; block += kEach) {
      const uint32_t from = block < 8 - kEach ? block : 8 - kEach;
      I low = _mm512_setzero_si512(), high = low;  // of outputs 0..7 and 8..15
      FACET_CPU_UNROLL for (uint32_t r = 0; r < 8; ++r) {
        const size_t at = from * size + field;
        low = _mm512_mask_permutexvar_epi16(low, 0x01010101u << r, number, load(rows.row(r) + at));
        high = _mm512_mask_permutexvar_epi16(high, 0x01010101u << r, number, load(rows.row(r + 8) + at));
      }
      const I first = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high);
      out[from][0] = _mm512_cvtph_ps(_mm512_castsi512_si256(first));
      out[from + 1][0] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(first, 1));
      if (kEach == 2) continue;
      const I last = _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high);
      out[from + 2][0] = _mm512_cvtph_ps(_mm512_castsi512_si256(last));
      if (kEach == 4) out[from + 3][0] = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(last, 1));
    }
  }
  // Of the lower 16 bits.
  static F halves(I a) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a)); }
};

}  // namespace
}  // namespace facet::cpu
