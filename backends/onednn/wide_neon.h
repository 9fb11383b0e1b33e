// Eight outputs side by side in two NEON registers (formats.h says what for).
//
// In an unnamed namespace, and to be included only by files that are compiled for aarch64. Where the file is
// compiled for the dot product instructions they are used, else products are widened to 16 bits.
#pragma once

#include <arm_neon.h>

#include <cstdint>
#include <cstring>

#include "backends/onednn/output_rows.h"

namespace facet::cpu {
namespace {

struct NeonWide {
  struct I {
    uint32x4_t v[2];
  };
  struct F {
    float32x4_t v[2];
  };
  static constexpr uint32_t kOutputs = 8;
  static constexpr int kRows = 4, kWides = 1;
  static constexpr uint32_t kFewSums = 8;  // see few_rows()
  static constexpr int kByteZero = 0;

  static I load(const void* p) {
    auto* bytes = static_cast<const uint8_t*>(p);
    return {{of_bytes(vld1q_u8(bytes)), of_bytes(vld1q_u8(bytes + 16))}};
  }
  static I set(uint32_t x) { return {{vdupq_n_u32(x), vdupq_n_u32(x)}}; }
  static I bit_and(I a, I b) { return {{vandq_u32(a.v[0], b.v[0]), vandq_u32(a.v[1], b.v[1])}}; }
  static I bit_or(I a, I b) { return {{vorrq_u32(a.v[0], b.v[0]), vorrq_u32(a.v[1], b.v[1])}}; }
  template <int n>
  static I right(I a) {
    return {{vshrq_n_u32(a.v[0], n), vshrq_n_u32(a.v[1], n)}};
  }
  template <int n>
  static I left(I a) {
    return {{vshlq_n_u32(a.v[0], n), vshlq_n_u32(a.v[1], n)}};
  }
  template <int n>
  static I right_signed(I a) {
    auto shift = [](uint32x4_t v) { return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(v), n)); };
    return {{shift(a.v[0]), shift(a.v[1])}};
  }
  static I right(I a, int n) {
    const int32x4_t by = vdupq_n_s32(-n);
    return {{vshlq_u32(a.v[0], by), vshlq_u32(a.v[1], by)}};
  }
  static I spread_byte(I a, uint32_t number) {
    const uint32_t lanes[4] = {0, 0x04040404, 0x08080808, 0x0c0c0c0c};
    const uint8x16_t from = bytes(vaddq_u32(vld1q_u32(lanes), vdupq_n_u32(0x01010101u * number)));
    return {{of_bytes(vqtbl1q_u8(bytes(a.v[0]), from)), of_bytes(vqtbl1q_u8(bytes(a.v[1]), from))}};
  }
  static I add_where(I a, I from, I select, int8_t value) {
    const uint8x16_t more = vdupq_n_u8(static_cast<uint8_t>(value));
    auto add = [&](int i) {
      const uint8x16_t set_bits = vtstq_u8(bytes(from.v[i]), bytes(select.v[i]));
      return of_bytes(vaddq_u8(bytes(a.v[i]), vandq_u8(set_bits, more)));
    };
    return {{add(0), add(1)}};
  }

  FACET_CPU_INLINE static void load_dwords(const OutputRows& rows, size_t offset, I* out) {
    FACET_CPU_UNROLL for (size_t i = 0; i < 2; ++i) {
      auto part = [&](size_t r) FACET_CPU_LAMBDA { return of_bytes(vld1q_u8(rows.row(4 * i + r) + offset)); };
      const uint32x4_t a = part(0), b = part(1), c = part(2), d = part(3);
      const uint64x2_t even01 = pairs(vtrn1q_u32(a, b)), odd01 = pairs(vtrn2q_u32(a, b));
      const uint64x2_t even23 = pairs(vtrn1q_u32(c, d)), odd23 = pairs(vtrn2q_u32(c, d));
      out[0].v[i] = vreinterpretq_u32_u64(vzip1q_u64(even01, even23));
      out[1].v[i] = vreinterpretq_u32_u64(vzip1q_u64(odd01, odd23));
      out[2].v[i] = vreinterpretq_u32_u64(vzip2q_u64(even01, even23));
      out[3].v[i] = vreinterpretq_u32_u64(vzip2q_u64(odd01, odd23));
    }
  }

  static I look_up(const int8_t* table, I indices) {
    const uint8x16_t t = vreinterpretq_u8_s8(vld1q_s8(table));
    return {{of_bytes(vqtbl1q_u8(t, bytes(indices.v[0]))), of_bytes(vqtbl1q_u8(t, bytes(indices.v[1])))}};
  }
  static I byte(I a) { return a; }

  static I four(const int8_t* x) {
    uint32_t value;
    std::memcpy(&value, x, sizeof value);
    return set(value);
  }
  static I dot(I sums, I w, I x) {
    return {{dot(sums.v[0], w.v[0], x.v[0]), dot(sums.v[1], w.v[1], x.v[1])}};
  }
  static I dot_byte(I sums, I w, I x) { return dot(sums, w, x); }

  static F set(float x) { return {{vdupq_n_f32(x), vdupq_n_f32(x)}}; }
  static F load(const float* p) { return {{vld1q_f32(p), vld1q_f32(p + 4)}}; }
  static void store(float* p, F a) {
    vst1q_f32(p, a.v[0]);
    vst1q_f32(p + 4, a.v[1]);
  }
  static void store_first(float* p, uint32_t n, F a) {
    float copy[8];
    store(copy, a);
    for (uint32_t i = 0; i < n; ++i) p[i] = copy[i];
  }
  static F to_float(I a) { return {{vcvtq_f32_s32(numbers(a.v[0])), vcvtq_f32_s32(numbers(a.v[1]))}}; }
  static F mul(F a, F b) { return {{vmulq_f32(a.v[0], b.v[0]), vmulq_f32(a.v[1], b.v[1])}}; }
  static F fma(F a, F b, F c) {
    return {{vfmaq_f32(c.v[0], a.v[0], b.v[0]), vfmaq_f32(c.v[1], a.v[1], b.v[1])}};
  }
  static F halves(const uint16_t* p) { return {{floats(vld1_u16(p)), floats(vld1_u16(p + 4))}}; }
  template <size_t size>
  FACET_CPU_INLINE static void halves_of_8(const OutputRows& rows, size_t field, F (*out)[2]) {
    uint16_t bits[8][8];
    FACET_CPU_UNROLL for (uint32_t r = 0; r < 8; ++r) {
      const uint8_t* p = rows.row(r) + field;
      FACET_CPU_UNROLL for (uint32_t b = 0; b < 8; ++b) std::memcpy(&bits[b][r], p + b * size, 2);
    }
    FACET_CPU_UNROLL for (uint32_t b = 0; b < 8; ++b) out[b][0] = halves(bits[b]);
  }
  static F halves(I a) { return {{floats(vmovn_u32(a.v[0])), floats(vmovn_u32(a.v[1]))}}; }

 private:
  static uint8x16_t bytes(uint32x4_t a) { return vreinterpretq_u8_u32(a); }
  static uint32x4_t of_bytes(uint8x16_t a) { return vreinterpretq_u32_u8(a); }
  static uint64x2_t pairs(uint32x4_t a) { return vreinterpretq_u64_u32(a); }
  static int32x4_t numbers(uint32x4_t a) { return vreinterpretq_s32_u32(a); }
  static float32x4_t floats(uint16x4_t a) { return vcvt_f32_f16(vreinterpret_f16_u16(a)); }

  static uint32x4_t dot(uint32x4_t sums, uint32x4_t w, uint32x4_t x) {
    const int8x16_t a = vreinterpretq_s8_u32(w), b = vreinterpretq_s8_u32(x);
#if defined(__ARM_FEATURE_DOTPROD)
    return vreinterpretq_u32_s32(vdotq_s32(numbers(sums), a, b));
#else
    // A sum of two products stays below 2^15: 2 * 128 * 127.
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b)), high = vmull_high_s8(a, b);
    return vreinterpretq_u32_s32(vpadalq_s16(numbers(sums), vpaddq_s16(low, high)));
#endif
  }
};

}  // namespace
}  // namespace facet::cpu
