// Eight outputs side by side as in wide_neon.h, multiplied with two rows of activations at a time: an
// instruction takes 2 rows and 2 outputs with 8 elements of each to their 4 sums of products. Groups
// therefore lie in pairs, 8 bytes of an output beside one another.
//
// In an unnamed namespace, and to be included only by files that are compiled for aarch64 with i8mm and
// dotprod.
#pragma once

#include "backends/onednn/wide_neon.h"

namespace facet::cpu {
namespace {

struct I8mmWide : NeonWide {
  // From groups of all outputs, 8 of a block, to pairs: 2p holds those of 2p and 2p+1 of outputs 0..3, 2p+1
  // those of outputs 4..7.
  static void pair_groups(I* groups) {
    for (int g = 0; g < 8; g += 2) {
      const I a = groups[g], b = groups[g + 1];
      for (int half = 0; half < 2; ++half) {
        groups[g + half] = {{vzip1q_u32(a.v[half], b.v[half]), vzip2q_u32(a.v[half], b.v[half])}};
      }
    }
  }

  // dots += products of the groups [first, end) of a block, in pairs, with rows of activations.
  template <int R, int T>
  FACET_CPU_INLINE static void add_products(const I* const (&groups)[T], const int8_t* const (&x)[R],
                                            int first, int end, I (&dots)[R][T]) {
    constexpr int kTogether = R > 1 ? 2 : 1;
    static_assert(R % kTogether == 0);
    int32x4_t sums[R / kTogether][T][4];
    for (auto& of_row : sums) {
      for (auto& of_wide : of_row) {
        for (int32x4_t& sum : of_wide) sum = vdupq_n_s32(0);
      }
    }
    for (int g = first; g < end; g += 2) {
      for (int r = 0; r < R; r += kTogether) {
        const int8x16_t rows = vcombine_s8(vld1_s8(x[r] + 4 * g), vld1_s8(x[r + kTogether - 1] + 4 * g));
        for (int t = 0; t < T; ++t) {
          for (int i = 0; i < 4; ++i) {
            int32x4_t& sum = sums[r / kTogether][t][i];
            const int8x16_t w = vreinterpretq_s8_u32(groups[t][g + i / 2].v[i % 2]);
            sum = kTogether == 2 ? vmmlaq_s32(sum, rows, w) : vdotq_s32(sum, rows, w);
          }
        }
      }
    }
    for (int r = 0; r < R; r += kTogether) {
      for (int t = 0; t < T; ++t) {
        for (int half = 0; half < 2; ++half) {
          const int32x4_t a = sums[r / kTogether][t][2 * half], b = sums[r / kTogether][t][2 * half + 1];
          if constexpr (kTogether == 1) {
            add(dots[r][t].v[half], vpaddq_s32(a, b));
          } else {
            const int64x2_t c = vreinterpretq_s64_s32(a), d = vreinterpretq_s64_s32(b);
            add(dots[r][t].v[half], vreinterpretq_s32_s64(vzip1q_s64(c, d)));
            add(dots[r + 1][t].v[half], vreinterpretq_s32_s64(vzip2q_s64(c, d)));
          }
        }
      }
    }
  }

 private:
  static void add(uint32x4_t& dots, int32x4_t more) { dots = vaddq_u32(dots, vreinterpretq_u32_s32(more)); }
};

}  // namespace
}  // namespace facet::cpu
