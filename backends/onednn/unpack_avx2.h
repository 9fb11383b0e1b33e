// Takes weight blocks apart (unpack.h) with AVX2. To be included only by
// files that are compiled for AVX2, F16C and FMA.
#pragma once

#include <facet/blocks.h>
#include <immintrin.h>

#include "backends/onednn/unpack.h"

namespace facet::cpu {
namespace {

inline float half_to_float(uint16_t half) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half)));
}

inline __m256i load_bytes(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
inline void store_bytes(void* p, __m256i v) {
  _mm256_storeu_si256(static_cast<__m256i*>(p), v);
}

// 16 bytes to 32 nibbles, low ones first.
inline __m256i nibbles(const uint8_t* qs) {
  __m256i twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(qs)));
  const __m256i shifts = _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4);
  return _mm256_and_si256(_mm256_srlv_epi32(twice, shifts), _mm256_set1_epi8(15));
}

// 32 bits to 32 bytes of 0 or 16.
inline __m256i fifth_bits(const uint8_t* qh) {
  int32_t bits;
  std::memcpy(&bits, qh, sizeof bits);
  const __m256i spread = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i select = _mm256_set1_epi64x(static_cast<int64_t>(0x8040201008040201));
  __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits), spread);
  __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, select), select);
  return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

inline __m256i quants(const facet_block_q4_0& b) {
  return nibbles(b.qs);
}
inline __m256i quants(const facet_block_q4_1& b) {
  return nibbles(b.qs);
}
inline __m256i quants(const facet_block_q5_0& b) {
  return _mm256_or_si256(nibbles(b.qs), fifth_bits(b.qh));
}
inline __m256i quants(const facet_block_q5_1& b) {
  return _mm256_or_si256(nibbles(b.qs), fifth_bits(b.qh));
}
inline __m256i iq4_values(const uint8_t* qs) {
  const __m128i values = _mm_loadu_si128(reinterpret_cast<const __m128i*>(facet_iq4_values));
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(values), nibbles(qs));
}
inline __m256i quants(const facet_block_iq4_nl& b) {
  return iq4_values(b.qs);
}

// Blocks of a row to q [32 * blocks] and, up to a multiple of 8, d and m [blocks].
template <typename Block>
inline void unpack_row(const Block* blocks, uint32_t count, int8_t* q, float* d, float* m) {
  constexpr bool kOwnMinimum = requires(Block b) {
    b.m;
  };
  constexpr float kOffset = sizeof(Block) == sizeof(facet_block_q4_0) ? 8 : 16;
  uint32_t b = 0;
  for (; b < count; ++b) {
    store_bytes(q + 32 * b, quants(blocks[b]));
    d[b] = half_to_float(blocks[b].d);
    if constexpr (kOwnMinimum) m[b] = half_to_float(blocks[b].m);
  }
  for (; b % 8 != 0; ++b) d[b] = m[b] = 0.0f;
  if constexpr (!kOwnMinimum) {
    for (b = 0; b < count; b += 8) {
      __m256 offset = _mm256_mul_ps(_mm256_set1_ps(kOffset), _mm256_loadu_ps(d + b));
      _mm256_storeu_ps(m + b, _mm256_sub_ps(_mm256_setzero_ps(), offset));
    }
  }
}

inline void unpack_row(const facet_block_iq4_nl* blocks, uint32_t count, int8_t* q, float* d, float*) {
  uint32_t b = 0;
  for (; b < count; ++b) {
    store_bytes(q + 32 * b, quants(blocks[b]));
    d[b] = half_to_float(blocks[b].d);
  }
  for (; b % 8 != 0; ++b) d[b] = 0.0f;
}

inline void unpack_row(const facet_block_iq4_xs* blocks, uint32_t count, int8_t* q, float* d, float*) {
  for (uint32_t b = 0; b < count; ++b) {
    const facet_block_iq4_xs& block = blocks[b / 8];
    store_bytes(q + 32 * b, iq4_values(block.qs + 16 * (b % 8)));
    d[b] = half_to_float(block.d) * static_cast<float>(facet_iq4_xs_scale(&block, static_cast<int>(b % 8)));
  }
}

// Sixteen scales from int8, and their products with `offset` as minima.
inline void spread_scales(__m128i scales, const Super& s, int16_t offset) {
  store_bytes(s.mins, _mm256_mullo_epi16(_mm256_cvtepi8_epi16(scales), _mm256_set1_epi16(offset)));
  const __m128i upper_half = _mm_set_epi64x(0x0101010101010101, 0);
  for (int g = 0; g < 8; ++g) {
    __m128i pick = _mm_add_epi8(upper_half, _mm_set1_epi8(static_cast<int8_t>(2 * g)));
    store_bytes(s.scales + 16 * g, _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, pick)));
  }
}

inline void unpack_fast(const facet_block_q2_k& b, const Super& s) {
  const __m256i three = _mm256_set1_epi8(3);
  for (int h = 0; h < 2; ++h) {
    __m256i bytes = load_bytes(b.qs + 32 * h);
    for (int k = 0; k < 4; ++k) {
      store_bytes(s.q + 128 * h + 32 * k, _mm256_and_si256(_mm256_srli_epi16(bytes, 2 * k), three));
    }
  }
  const __m128i fifteen = _mm_set1_epi8(15),
                both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(b.scales));
  spread_scales(_mm_and_si128(both, fifteen), s, 0);
  store_bytes(s.mins, _mm256_cvtepi8_epi16(_mm_and_si128(_mm_srli_epi16(both, 4), fifteen)));
  *s.d = half_to_float(b.d);
  *s.dmin = half_to_float(b.dmin);
}

inline void unpack_fast(const facet_block_q3_k& b, const Super& s) {
  const __m256i three = _mm256_set1_epi8(3), one = _mm256_set1_epi8(1);
  const __m256i high = load_bytes(b.hmask);
  for (int h = 0; h < 2; ++h) {
    __m256i bytes = load_bytes(b.qs + 32 * h);
    for (int k = 0; k < 4; ++k) {
      __m256i low = _mm256_and_si256(_mm256_srli_epi16(bytes, 2 * k), three);
      __m256i bit = _mm256_and_si256(_mm256_srli_epi16(high, 4 * h + k), one);
      store_bytes(s.q + 128 * h + 32 * k, _mm256_or_si256(low, _mm256_slli_epi16(bit, 2)));
    }
  }
  int8_t scales[16];
  for (int g = 0; g < 16; ++g) scales[g] = static_cast<int8_t>(facet_q3_k_scale(b.scales, g));
  spread_scales(_mm_loadu_si128(reinterpret_cast<const __m128i*>(scales)), s, 4);
  *s.d = *s.dmin = half_to_float(b.d);
}

// Eight 6-bit scales and eight minima from 12 bytes (facet_q4_k_scale), spread as Super has them.
inline void unpack_scales_fast(const uint8_t* packed, const Super& s) {
  uint32_t a, b, c;
  std::memcpy(&a, packed, 4);
  std::memcpy(&b, packed + 4, 4);
  std::memcpy(&c, packed + 8, 4);
  uint32_t low = a & 0x3f3f3f3fu, high = (c & 0x0f0f0f0fu) | (a >> 6 & 0x03030303u) << 4;
  uint32_t min_low = b & 0x3f3f3f3fu, min_high = (c >> 4 & 0x0f0f0f0fu) | (b >> 6 & 0x03030303u) << 4;
  __m128i mins =
      _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<int64_t>(uint64_t{min_high} << 32 | min_low)));
  store_bytes(s.mins, _mm256_set_m128i(_mm_unpackhi_epi16(mins, mins), _mm_unpacklo_epi16(mins, mins)));
  __m128i scales = _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<int64_t>(uint64_t{high} << 32 | low)));
  __m256i both = _mm256_broadcastsi128_si256(scales);
  for (int g = 0; g < 8; ++g) {
    __m256i pick = _mm256_set1_epi16(static_cast<int16_t>(0x0100 + 0x0202 * g));
    store_bytes(s.scales + 16 * g, _mm256_shuffle_epi8(both, pick));
  }
}

inline void unpack_fast(const facet_block_q4_k& b, const Super& s) {
  const __m256i fifteen = _mm256_set1_epi8(15);
  for (int h = 0; h < 4; ++h) {
    __m256i bytes = load_bytes(b.qs + 32 * h);
    store_bytes(s.q + 64 * h, _mm256_and_si256(bytes, fifteen));
    store_bytes(s.q + 64 * h + 32, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), fifteen));
  }
  unpack_scales_fast(b.scales, s);
  *s.d = half_to_float(b.d);
  *s.dmin = half_to_float(b.dmin);
}

inline void unpack_fast(const facet_block_q5_k& b, const Super& s) {
  const __m256i fifteen = _mm256_set1_epi8(15), sixteen = _mm256_set1_epi8(16);
  __m256i high = load_bytes(b.qh);
  for (int h = 0; h < 4; ++h) {
    __m256i bytes = load_bytes(b.qs + 32 * h);
    // Bits 2h and 2h+1 of each byte go to bit 4; what a shift brings in from a neighbour is masked off.
    __m256i even = _mm256_and_si256(_mm256_slli_epi16(_mm256_srli_epi16(high, 2 * h), 4), sixteen);
    __m256i odd = _mm256_and_si256(_mm256_slli_epi16(_mm256_srli_epi16(high, 2 * h + 1), 4), sixteen);
    store_bytes(s.q + 64 * h, _mm256_or_si256(_mm256_and_si256(bytes, fifteen), even));
    store_bytes(s.q + 64 * h + 32,
                _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(bytes, 4), fifteen), odd));
  }
  unpack_scales_fast(b.scales, s);
  *s.d = half_to_float(b.d);
  *s.dmin = half_to_float(b.dmin);
}

inline void unpack_fast(const facet_block_q6_k& b, const Super& s) {
  const __m256i fifteen = _mm256_set1_epi8(15), upper = _mm256_set1_epi8(0x30);
  for (int h = 0; h < 2; ++h) {
    __m256i low0 = load_bytes(b.ql + 64 * h), low1 = load_bytes(b.ql + 64 * h + 32);
    __m256i high = load_bytes(b.qh + 32 * h);
    __m256i high0 = _mm256_and_si256(_mm256_slli_epi16(high, 4), upper);
    __m256i high1 = _mm256_and_si256(_mm256_slli_epi16(high, 2), upper);
    __m256i high2 = _mm256_and_si256(high, upper);
    __m256i high3 = _mm256_and_si256(_mm256_srli_epi16(high, 2), upper);
    uint8_t* q = s.q + 128 * h;
    store_bytes(q, _mm256_or_si256(_mm256_and_si256(low0, fifteen), high0));
    store_bytes(q + 32, _mm256_or_si256(_mm256_and_si256(low1, fifteen), high1));
    store_bytes(q + 64, _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low0, 4), fifteen), high2));
    store_bytes(q + 96, _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low1, 4), fifteen), high3));
  }
  spread_scales(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b.scales)), s, 32);
  *s.d = *s.dmin = half_to_float(b.d);
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
  for (; i < width; ++i) out[i] = half_to_float(halves[i]);
}

inline void unpack_brains(const uint8_t* row, uint32_t width, float* out) {
  auto* brains = reinterpret_cast<const uint16_t*>(row);
  uint32_t i = 0;
  for (; i + 8 <= width; i += 8) {
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(brains + i)));
    store_bytes(out + i, _mm256_slli_epi32(wide, 16));
  }
  for (; i < width; ++i) out[i] = facet_bf16_to_f32(brains[i]);
}

}  // namespace
}  // namespace facet::cpu
