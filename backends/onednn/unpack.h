// Takes weight blocks apart into what the dot products read, in plain code.
//
//   blocks        q int8 [32] and w = d*q + m. Signed formats (Q8_0, IQ4_NL, IQ4_XS) have m = 0 and use all 8
//                 bits; the others have q in 0..31.
//   super-blocks  q uint8 [256] in 0..63 with w = d*scale*q - dmin*min; scale and min are integers per 16
//                 elements. Scales are written 16 times per block, as products of pairs are multiplied with
//                 them: scales[g][t] belongs to elements 2t and 2t+1 of block g.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include <facet/blocks.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace facet::cpu {
namespace {

struct Super {
  uint8_t* q;       // [256]
  int16_t* scales;  // [8, 16]
  int16_t* mins;    // [16]
  float* d;
  float* dmin;
};

inline void unpack_nibbles(const uint8_t* qs, int8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = static_cast<int8_t>(qs[i] & 15);
    q[i + 16] = static_cast<int8_t>(qs[i] >> 4);
  }
}

inline void unpack_values(const uint8_t* qs, int8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = facet_iq4_values[qs[i] & 15];
    q[i + 16] = facet_iq4_values[qs[i] >> 4];
  }
}

inline void unpack(const facet_block_q4_0& b, int8_t* q, float* d, float* m) {
  unpack_nibbles(b.qs, q);
  *d = facet_f16_to_f32(b.d);
  *m = 0.0f - 8.0f * *d;
}

inline void unpack(const facet_block_q4_1& b, int8_t* q, float* d, float* m) {
  unpack_nibbles(b.qs, q);
  *d = facet_f16_to_f32(b.d);
  *m = facet_f16_to_f32(b.m);
}

inline void unpack(const facet_block_q5_0& b, int8_t* q, float* d, float* m) {
  for (int i = 0; i < 32; ++i) q[i] = static_cast<int8_t>(facet_five_bits(b.qs, b.qh, i));
  *d = facet_f16_to_f32(b.d);
  *m = 0.0f - 16.0f * *d;
}

inline void unpack(const facet_block_q5_1& b, int8_t* q, float* d, float* m) {
  for (int i = 0; i < 32; ++i) q[i] = static_cast<int8_t>(facet_five_bits(b.qs, b.qh, i));
  *d = facet_f16_to_f32(b.d);
  *m = facet_f16_to_f32(b.m);
}

inline void unpack(const facet_block_q8_0& b, int8_t* q, float* d, float*) {
  std::memcpy(q, b.qs, sizeof b.qs);
  *d = facet_f16_to_f32(b.d);
}

inline void unpack(const facet_block_iq4_nl& b, int8_t* q, float* d, float*) {
  unpack_values(b.qs, q);
  *d = facet_f16_to_f32(b.d);
}

// Eight blocks at once.
inline void unpack(const facet_block_iq4_xs& b, int8_t* q, float* d, float*) {
  float scale = facet_f16_to_f32(b.d);
  for (int g = 0; g < 8; ++g) {
    unpack_values(b.qs + 16 * g, q + 32 * g);
    d[g] = scale * static_cast<float>(facet_iq4_xs_scale(&b, g));
  }
}

inline void spread_scale(const Super& s, int sixteen, int scale) {
  for (int t = 0; t < 8; ++t) s.scales[8 * sixteen + t] = static_cast<int16_t>(scale);
}

inline void unpack(const facet_block_q2_k& b, const Super& s) {
  for (int i = 0; i < 256; ++i) s.q[i] = static_cast<uint8_t>(facet_two_bits(b.qs, i));
  for (int g = 0; g < 16; ++g) {
    spread_scale(s, g, b.scales[g] & 15);
    s.mins[g] = static_cast<int16_t>(b.scales[g] >> 4);
  }
  *s.d = facet_f16_to_f32(b.d);
  *s.dmin = facet_f16_to_f32(b.dmin);
}

inline void unpack(const facet_block_q3_k& b, const Super& s) {
  for (int i = 0; i < 256; ++i) {
    int high = b.hmask[i % 32] >> (i / 32) & 1;
    s.q[i] = static_cast<uint8_t>(facet_two_bits(b.qs, i) | high << 2);
  }
  for (int g = 0; g < 16; ++g) {
    int scale = facet_q3_k_scale(b.scales, g);
    spread_scale(s, g, scale);
    s.mins[g] = static_cast<int16_t>(4 * scale);
  }
  *s.d = *s.dmin = facet_f16_to_f32(b.d);
}

inline void unpack_q4_k_scales(const uint8_t* scales, const Super& s) {
  for (int g = 0; g < 8; ++g) {
    int scale, minimum;
    facet_q4_k_scale(scales, g, &scale, &minimum);
    spread_scale(s, 2 * g, scale);
    spread_scale(s, 2 * g + 1, scale);
    s.mins[2 * g] = s.mins[2 * g + 1] = static_cast<int16_t>(minimum);
  }
}

inline void unpack(const facet_block_q4_k& b, const Super& s) {
  for (int i = 0; i < 256; ++i) {
    s.q[i] = static_cast<uint8_t>(b.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15);
  }
  unpack_q4_k_scales(b.scales, s);
  *s.d = facet_f16_to_f32(b.d);
  *s.dmin = facet_f16_to_f32(b.dmin);
}

inline void unpack(const facet_block_q5_k& b, const Super& s) {
  for (int i = 0; i < 256; ++i) {
    int low = b.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
    s.q[i] = static_cast<uint8_t>(low | (b.qh[i % 32] >> (i / 32) & 1) << 4);
  }
  unpack_q4_k_scales(b.scales, s);
  *s.d = facet_f16_to_f32(b.d);
  *s.dmin = facet_f16_to_f32(b.dmin);
}

inline void unpack(const facet_block_q6_k& b, const Super& s) {
  for (int i = 0; i < 256; ++i) {
    int low = b.ql[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
    s.q[i] = static_cast<uint8_t>(low | facet_two_bits(b.qh, i) << 4);
  }
  for (int g = 0; g < 16; ++g) {
    spread_scale(s, g, b.scales[g]);
    s.mins[g] = static_cast<int16_t>(32 * b.scales[g]);
  }
  *s.d = *s.dmin = facet_f16_to_f32(b.d);
}

}  // namespace
}  // namespace facet::cpu
