// Eight outputs side by side in AVX2 registers, with the dot products of AVX-VNNI (formats.h says what for).
//
// In an unnamed namespace, and to be included only by files that are compiled for AVX2, F16C, FMA and
// AVX-VNNI, or for AVX-512 VNNI and VL, which encode the same instruction otherwise.
#pragma once

#include "backends/onednn/wide_avx2.h"

namespace facet::cpu {
namespace {

struct AvxVnniWide : Avx2Wide {
  static constexpr int kRows = 6;
  static constexpr int kByteZero = 128;  // see byte()

  static I byte(I a) { return _mm256_xor_si256(a, set(0x80808080u)); }
  static I dot(I sums, I w, I x) { return _mm256_dpbusd_epi32(sums, w, x); }
  static I dot_byte(I sums, I w, I x) { return dot(sums, w, x); }
};

}  // namespace
}  // namespace facet::cpu
