// Takes weight blocks apart into what the dot products read, for some outputs side by side.
//
//   wide    a register's worth of outputs, 32 bits each. `W` (Avx512Wide, Avx2Wide) has the operations.
//   group   4 consecutive elements of a row, one byte each: what one dot product takes of each output.
//   chunk   up to 8 consecutive blocks (of 32 elements) of a wide's outputs, taken apart.
//
// A format says how its weights read: w = d * (q - kZero) + m, with q as unsigned bytes, or, if kBytes, as W
// wants whole bytes (W::byte). kHalves: d and m are per 16 elements, not per 32. kMins: there is an m.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include <facet/blocks.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/onednn/kernels.h"

namespace facet::cpu {
namespace {

template <typename W>
struct Chunk {
  typename W::I q[8][8];  // [block][group]
  typename W::F d[8][2];  // [block][half], the first one only unless kHalves
  typename W::F m[8][2];
};

// Where the blocks of a chunk lie: those of output r begin at first + r * stride.
struct ChunkRows {
  const uint8_t* first;
  size_t stride;
  uint32_t blocks;

  const uint8_t* row(uint32_t r) const { return first + r * stride; }
};

// The low halves of 16 bytes are groups 0..3 of a block, the high ones 4..7.
template <typename W>
FACET_CPU_INLINE void nibbles(const ChunkRows& at, size_t offset, typename W::I* groups) {
  typename W::I raw[4];
  W::load_dwords(at.first, at.stride, offset, raw);
  const auto low = W::set(0x0f0f0f0fu);
  for (int k = 0; k < 4; ++k) {
    groups[k] = W::bit_and(raw[k], low);
    groups[k + 4] = W::bit_and(W::template right<4>(raw[k]), low);
  }
}

// A 16-bit field of each block: [block] floats.
template <typename W, typename Block>
FACET_CPU_INLINE void half_fields(const ChunkRows& at, size_t field, typename W::F (*out)[2]) {
  uint16_t bits[8][W::kOutputs];
  for (uint32_t r = 0; r < W::kOutputs; ++r) {
    const uint8_t* p = at.row(r) + field;
    for (uint32_t b = 0; b < at.blocks; ++b) std::memcpy(&bits[b][r], p + b * sizeof(Block), 2);
  }
  for (uint32_t b = 0; b < at.blocks; ++b) out[b][0] = W::halves(bits[b]);
}

// Fifth bits of a block's groups, from 32 bits at `offset`.
template <typename W>
FACET_CPU_INLINE void add_fifth_bits(const ChunkRows& at, size_t offset, typename W::I* groups) {
  uint32_t words[W::kOutputs];
  for (uint32_t r = 0; r < W::kOutputs; ++r) std::memcpy(&words[r], at.row(r) + offset, 4);
  const auto bits = W::load(static_cast<const void*>(words));
  for (uint32_t pair = 0; pair < 4; ++pair) {
    const auto bytes = W::spread_byte(bits, pair);
    groups[2 * pair] = W::add_where(groups[2 * pair], bytes, W::set(0x08040201u), 16);
    groups[2 * pair + 1] = W::add_where(groups[2 * pair + 1], bytes, W::set(0x80402010u), 16);
  }
}

// Byte g of a word per output, as float.
template <typename W>
FACET_CPU_INLINE typename W::F unsigned_byte(typename W::I words, int g) {
  return W::to_float(W::bit_and(W::right(words, 8 * g), W::set(0xffu)));
}

template <typename W, typename Block>
struct Format;

template <typename W>
struct Format<W, facet_block_q4_0> {
  using Block = facet_block_q4_0;
  static constexpr uint32_t kBlocks = 1;  // per Block
  static constexpr bool kHalves = false, kMins = false, kBytes = false;
  static constexpr int kZero = 8;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    half_fields<W, Block>(at, offsetof(Block, d), chunk.d);
    for (uint32_t b = 0; b < at.blocks; ++b) {
      nibbles<W>(at, b * sizeof(Block) + offsetof(Block, qs), chunk.q[b]);
    }
  }
};

template <typename W>
struct Format<W, facet_block_q4_1> {
  using Block = facet_block_q4_1;
  static constexpr uint32_t kBlocks = 1;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    half_fields<W, Block>(at, offsetof(Block, d), chunk.d);
    half_fields<W, Block>(at, offsetof(Block, m), chunk.m);
    for (uint32_t b = 0; b < at.blocks; ++b) {
      nibbles<W>(at, b * sizeof(Block) + offsetof(Block, qs), chunk.q[b]);
    }
  }
};

template <typename W>
struct Format<W, facet_block_q5_0> {
  using Block = facet_block_q5_0;
  static constexpr uint32_t kBlocks = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = false;
  static constexpr int kZero = 16;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    half_fields<W, Block>(at, offsetof(Block, d), chunk.d);
    for (uint32_t b = 0; b < at.blocks; ++b) {
      nibbles<W>(at, b * sizeof(Block) + offsetof(Block, qs), chunk.q[b]);
      add_fifth_bits<W>(at, b * sizeof(Block) + offsetof(Block, qh), chunk.q[b]);
    }
  }
};

template <typename W>
struct Format<W, facet_block_q5_1> {
  using Block = facet_block_q5_1;
  static constexpr uint32_t kBlocks = 1;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    half_fields<W, Block>(at, offsetof(Block, d), chunk.d);
    half_fields<W, Block>(at, offsetof(Block, m), chunk.m);
    for (uint32_t b = 0; b < at.blocks; ++b) {
      nibbles<W>(at, b * sizeof(Block) + offsetof(Block, qs), chunk.q[b]);
      add_fifth_bits<W>(at, b * sizeof(Block) + offsetof(Block, qh), chunk.q[b]);
    }
  }
};

template <typename W>
struct Format<W, facet_block_q8_0> {
  using Block = facet_block_q8_0;
  static constexpr uint32_t kBlocks = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = true;
  static constexpr int kZero = W::kByteZero;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    half_fields<W, Block>(at, offsetof(Block, d), chunk.d);
    for (uint32_t b = 0; b < at.blocks; ++b) {
      for (size_t h = 0; h < 2; ++h) {
        typename W::I raw[4];
        W::load_dwords(at.first, at.stride, b * sizeof(Block) + offsetof(Block, qs) + 16 * h, raw);
        for (size_t k = 0; k < 4; ++k) chunk.q[b][4 * h + k] = W::byte(raw[k]);
      }
    }
  }
};

template <typename W>
FACET_CPU_INLINE void iq4_values(typename W::I* groups) {
  for (int g = 0; g < 8; ++g) groups[g] = W::byte(W::look_up(facet_iq4_values, groups[g]));
}

template <typename W>
struct Format<W, facet_block_iq4_nl> {
  using Block = facet_block_iq4_nl;
  static constexpr uint32_t kBlocks = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = true;
  static constexpr int kZero = W::kByteZero;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    half_fields<W, Block>(at, offsetof(Block, d), chunk.d);
    for (uint32_t b = 0; b < at.blocks; ++b) {
      nibbles<W>(at, b * sizeof(Block) + offsetof(Block, qs), chunk.q[b]);
      iq4_values<W>(chunk.q[b]);
    }
  }
};

template <typename W>
struct Format<W, facet_block_iq4_xs> {
  using Block = facet_block_iq4_xs;
  static constexpr uint32_t kBlocks = 8;
  static constexpr bool kHalves = false, kMins = false, kBytes = true;
  static constexpr int kZero = W::kByteZero;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    float scales[8][W::kOutputs];
    for (uint32_t r = 0; r < W::kOutputs; ++r) {
      Block block;
      std::memcpy(&block, at.row(r), offsetof(Block, qs));
      const float d = facet_f16_to_f32(block.d);
      for (int g = 0; g < 8; ++g) scales[g][r] = d * static_cast<float>(facet_iq4_xs_scale(&block, g));
    }
    for (size_t b = 0; b < 8; ++b) {
      chunk.d[b][0] = W::load(scales[b]);
      nibbles<W>(at, offsetof(Block, qs) + 16 * b, chunk.q[b]);
      iq4_values<W>(chunk.q[b]);
    }
  }
};

// Header and scales of Q4_K and Q5_K: 16 bytes d, dmin, scales[12] (facet_q4_k_scale).
template <typename W>
FACET_CPU_INLINE void q4_k_scales(const ChunkRows& at, Chunk<W>& chunk) {
  typename W::I head[4];
  W::load_dwords(at.first, at.stride, 0, head);
  const auto d = W::halves(head[0]);
  const auto minus_dmin = W::mul(W::set(-1.0f), W::halves(W::template right<16>(head[0])));
  const auto six = W::set(0x3f3f3f3fu), four = W::set(0x0f0f0f0fu), two = W::set(0x30303030u);
  const typename W::I scales[2] = {
      W::bit_and(head[1], six),
      W::bit_or(W::bit_and(head[3], four), W::bit_and(W::template right<2>(head[1]), two))};
  const typename W::I mins[2] = {W::bit_and(head[2], six),
                                 W::bit_or(W::bit_and(W::template right<4>(head[3]), four),
                                           W::bit_and(W::template right<2>(head[2]), two))};
  for (int b = 0; b < 8; ++b) {
    chunk.d[b][0] = W::mul(d, unsigned_byte<W>(scales[b / 4], b % 4));
    chunk.m[b][0] = W::mul(minus_dmin, unsigned_byte<W>(mins[b / 4], b % 4));
  }
}

// 32 bytes whose low halves are one block, the high ones the next.
template <typename W>
FACET_CPU_INLINE void nibbles_of_two(const ChunkRows& at, size_t offset, typename W::I* first,
                                     typename W::I* second) {
  const auto low = W::set(0x0f0f0f0fu);
  for (size_t h = 0; h < 2; ++h) {
    typename W::I raw[4];
    W::load_dwords(at.first, at.stride, offset + 16 * h, raw);
    for (size_t k = 0; k < 4; ++k) {
      first[4 * h + k] = W::bit_and(raw[k], low);
      second[4 * h + k] = W::bit_and(W::template right<4>(raw[k]), low);
    }
  }
}

template <typename W>
struct Format<W, facet_block_q4_k> {
  using Block = facet_block_q4_k;
  static constexpr uint32_t kBlocks = 8;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    q4_k_scales<W>(at, chunk);
    for (size_t p = 0; p < 4; ++p) {
      nibbles_of_two<W>(at, offsetof(Block, qs) + 32 * p, chunk.q[2 * p], chunk.q[2 * p + 1]);
    }
  }
};

template <typename W>
struct Format<W, facet_block_q5_k> {
  using Block = facet_block_q5_k;
  static constexpr uint32_t kBlocks = 8;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    q4_k_scales<W>(at, chunk);
    for (size_t p = 0; p < 4; ++p) {
      nibbles_of_two<W>(at, offsetof(Block, qs) + 32 * p, chunk.q[2 * p], chunk.q[2 * p + 1]);
    }
    typename W::I high[8];
    W::load_dwords(at.first, at.stride, offsetof(Block, qh), high);
    W::load_dwords(at.first, at.stride, offsetof(Block, qh) + 16, high + 4);
    for (int b = 0; b < 8; ++b) {
      for (int g = 0; g < 8; ++g) {
        chunk.q[b][g] = W::add_where(chunk.q[b][g], high[g], W::set(0x01010101u << b), 16);
      }
    }
  }
};

template <typename W>
struct Format<W, facet_block_q6_k> {
  using Block = facet_block_q6_k;
  static constexpr uint32_t kBlocks = 8;
  static constexpr bool kHalves = true, kMins = false, kBytes = false;
  static constexpr int kZero = 32;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    for (size_t h = 0; h < 2; ++h) {  // halves of 128 elements
      auto* q = chunk.q + 4 * h;
      nibbles_of_two<W>(at, offsetof(Block, ql) + 64 * h, q[0], q[2]);
      nibbles_of_two<W>(at, offsetof(Block, ql) + 64 * h + 32, q[1], q[3]);
      typename W::I high[8];
      W::load_dwords(at.first, at.stride, offsetof(Block, qh) + 32 * h, high);
      W::load_dwords(at.first, at.stride, offsetof(Block, qh) + 32 * h + 16, high + 4);
      const auto two = W::set(0x30303030u);
      for (int g = 0; g < 8; ++g) {
        q[0][g] = W::bit_or(q[0][g], W::bit_and(W::template left<4>(high[g]), two));
        q[1][g] = W::bit_or(q[1][g], W::bit_and(W::template left<2>(high[g]), two));
        q[2][g] = W::bit_or(q[2][g], W::bit_and(high[g], two));
        q[3][g] = W::bit_or(q[3][g], W::bit_and(W::template right<2>(high[g]), two));
      }
    }
    ChunkRows one = at;
    one.blocks = 1;
    typename W::F d[1][2];
    half_fields<W, Block>(one, offsetof(Block, d), d);
    typename W::I scales[4];
    W::load_dwords(at.first, at.stride, offsetof(Block, scales), scales);
    for (int g = 0; g < 4; ++g) {
      auto scale = [&](typename W::I top) {
        return W::mul(d[0][0], W::to_float(W::template right_signed<24>(top)));
      };
      chunk.d[2 * g][0] = scale(W::template left<24>(scales[g]));
      chunk.d[2 * g][1] = scale(W::template left<16>(scales[g]));
      chunk.d[2 * g + 1][0] = scale(W::template left<8>(scales[g]));
      chunk.d[2 * g + 1][1] = scale(scales[g]);
    }
  }
};

// Two-bit fields of 64 bytes, as Q2_K and Q3_K have them.
template <typename W>
FACET_CPU_INLINE void two_bits(const ChunkRows& at, size_t offset, Chunk<W>& chunk) {
  const auto two = W::set(0x03030303u);
  for (size_t h = 0; h < 2; ++h) {
    typename W::I raw[8];
    W::load_dwords(at.first, at.stride, offset + 32 * h, raw);
    W::load_dwords(at.first, at.stride, offset + 32 * h + 16, raw + 4);
    for (size_t g = 0; g < 8; ++g) {
      chunk.q[4 * h][g] = W::bit_and(raw[g], two);
      chunk.q[4 * h + 1][g] = W::bit_and(W::template right<2>(raw[g]), two);
      chunk.q[4 * h + 2][g] = W::bit_and(W::template right<4>(raw[g]), two);
      chunk.q[4 * h + 3][g] = W::bit_and(W::template right<6>(raw[g]), two);
    }
  }
}

template <typename W>
struct Format<W, facet_block_q2_k> {
  using Block = facet_block_q2_k;
  static constexpr uint32_t kBlocks = 8;
  static constexpr bool kHalves = true, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    two_bits<W>(at, offsetof(Block, qs), chunk);
    ChunkRows one = at;
    one.blocks = 1;
    typename W::F d[1][2], dmin[1][2];
    half_fields<W, Block>(one, offsetof(Block, d), d);
    half_fields<W, Block>(one, offsetof(Block, dmin), dmin);
    const auto minus_dmin = W::mul(W::set(-1.0f), dmin[0][0]);
    typename W::I both[4];
    W::load_dwords(at.first, at.stride, offsetof(Block, scales), both);
    const auto four = W::set(0x0f0f0f0fu);
    for (int g = 0; g < 16; ++g) {
      auto scales = W::bit_and(both[g / 4], four), mins = W::bit_and(W::template right<4>(both[g / 4]), four);
      chunk.d[g / 2][g % 2] = W::mul(d[0][0], unsigned_byte<W>(scales, g % 4));
      chunk.m[g / 2][g % 2] = W::mul(minus_dmin, unsigned_byte<W>(mins, g % 4));
    }
  }
};

template <typename W>
struct Format<W, facet_block_q3_k> {
  using Block = facet_block_q3_k;
  static constexpr uint32_t kBlocks = 8;
  static constexpr bool kHalves = true, kMins = false, kBytes = false;
  static constexpr int kZero = 4;

  FACET_CPU_INLINE static void unpack(const ChunkRows& at, Chunk<W>& chunk) {
    two_bits<W>(at, offsetof(Block, qs), chunk);
    typename W::I high[8];
    W::load_dwords(at.first, at.stride, offsetof(Block, hmask), high);
    W::load_dwords(at.first, at.stride, offsetof(Block, hmask) + 16, high + 4);
    for (int b = 0; b < 8; ++b) {
      for (int g = 0; g < 8; ++g) {
        chunk.q[b][g] = W::add_where(chunk.q[b][g], high[g], W::set(0x01010101u << b), 4);
      }
    }
    float scales[16][W::kOutputs];
    for (uint32_t r = 0; r < W::kOutputs; ++r) {
      Block block;
      std::memcpy(&block, at.row(r), sizeof block);
      const float d = facet_f16_to_f32(block.d);
      for (int g = 0; g < 16; ++g) scales[g][r] = d * static_cast<float>(facet_q3_k_scale(block.scales, g));
    }
    for (int g = 0; g < 16; ++g) chunk.d[g / 2][g % 2] = W::load(scales[g]);
  }
};

}  // namespace
}  // namespace facet::cpu
