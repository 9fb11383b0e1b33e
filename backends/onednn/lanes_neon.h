// Eight float32 lanes in two NEON registers: what lanes.h has in plain code, with the same bits.
//
// In an unnamed namespace, and to be included only by files that are compiled for aarch64, whose every CPU
// has these instructions.
#pragma once

#include <arm_neon.h>

#include "backends/onednn/lanes.h"

namespace facet::cpu {
namespace {

struct NeonLanes {
  using Columns = NeonLanes;
  static constexpr uint32_t kCount = 8;
  struct V {
    float32x4_t low, high;
  };

  static V set(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static V load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
  static V load(const uint16_t* p) {
    const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(p));
    return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
  }
  static V load(const Brain* p) {
    const uint16x8_t brains = vld1q_u16(&p->bits);
    return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(brains), 16)),
            vreinterpretq_f32_u32(vshll_high_n_u16(brains, 16))};
  }
  static V load(const int8_t* p) {
    const int16x8_t shorts = vmovl_s8(vld1_s8(p));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(shorts))), vcvtq_f32_s32(vmovl_high_s16(shorts))};
  }
  template <typename T>
  static V load_first(const T* p, size_t n) {
    T copy[8] = {};
    for (size_t i = 0; i < n; ++i) copy[i] = p[i];
    return load(copy);
  }
  static void store(float* p, V a) {
    vst1q_f32(p, a.low);
    vst1q_f32(p + 4, a.high);
  }
  static void store_first(float* p, size_t n, V a) {
    float copy[8];
    store(copy, a);
    for (size_t i = 0; i < n; ++i) p[i] = copy[i];
  }
  static void store_half(uint16_t* p, V a) {
    vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(a.low), a.high)));
  }

  static V add(V a, V b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
  static V sub(V a, V b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
  static V mul(V a, V b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
  static V div(V a, V b) { return {vdivq_f32(a.low, b.low), vdivq_f32(a.high, b.high)}; }
  static V fma(V a, V b, V c) { return {vfmaq_f32(c.low, a.low, b.low), vfmaq_f32(c.high, a.high, b.high)}; }
  static V fma(float a, V b, V c) { return fma(set(a), b, c); }
  static V max(V a, V b) {
    return {vbslq_f32(vcgtq_f32(a.low, b.low), a.low, b.low),
            vbslq_f32(vcgtq_f32(a.high, b.high), a.high, b.high)};
  }
  static V min(V a, V b) {
    return {vbslq_f32(vcltq_f32(a.low, b.low), a.low, b.low),
            vbslq_f32(vcltq_f32(a.high, b.high), a.high, b.high)};
  }
  static V abs(V a) { return {vabsq_f32(a.low), vabsq_f32(a.high)}; }
  static V where_below(V x, float limit, V a, V b) {
    const float32x4_t bound = vdupq_n_f32(limit);
    return {vbslq_f32(vcaltq_f32(x.low, bound), a.low, b.low),
            vbslq_f32(vcaltq_f32(x.high, bound), a.high, b.high)};
  }
  static V times_power(V a, V t) {
    auto power = [](float32x4_t v) {
      const uint32x4_t k = vshlq_n_u32(vreinterpretq_u32_f32(v), 23);
      return vreinterpretq_f32_u32(vaddq_u32(k, vdupq_n_u32(0x3f800000u)));
    };
    return {vmulq_f32(a.low, power(t.low)), vmulq_f32(a.high, power(t.high))};
  }
  static float reduce(V t) {
    auto sum = [](float32x4_t v) {
      const float32x2_t pairs = vadd_f32(vget_low_f32(v), vget_high_f32(v));
      return vget_lane_f32(pairs, 0) + vget_lane_f32(pairs, 1);
    };
    return sum(t.low) + sum(t.high);
  }
  // reduce() of four: [4, 8] to [4].
  static void reduce_four(const float* p, float* out) {
    for (int i = 0; i < 4; ++i) out[i] = reduce(load(p + 8 * i));
  }
  static V join(const V* rows) { return rows[0]; }
  static V repeat(V row) { return row; }
  static float first(V a) { return vgetq_lane_f32(a.low, 0); }
  static uint32_t greatest_magnitude(const float* p, size_t vectors) {
    uint32x4_t greatest = vdupq_n_u32(0);
    for (size_t i = 0; i < 2 * vectors; ++i) {
      greatest = vmaxq_u32(greatest, vreinterpretq_u32_f32(vabsq_f32(vld1q_f32(p + 4 * i))));
    }
    return vmaxvq_u32(greatest);
  }
  static void round_to_int8(const float* p, float factor, int8_t* q) {
    for (int i = 0; i < 2; ++i, p += 16, q += 16) {
      auto four = [&](int at) { return vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(p + at), factor))); };
      vst1q_s8(q, vcombine_s8(vqmovn_s16(vcombine_s16(four(0), four(4))),
                              vqmovn_s16(vcombine_s16(four(8), four(12)))));
    }
  }
};

}  // namespace
}  // namespace facet::cpu
