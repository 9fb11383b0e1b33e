// Takes weight blocks apart into what the dot products read, for some outputs side by side.
//
//   wide    a register's worth of outputs, 32 bits each. `W` (Avx512Wide, Avx2Wide, AvxVnniWide, NeonWide,
//           I8mmWide) has the operations.
//   group   4 consecutive elements of a row, one byte each: what one dot product takes of each output.
//   chunk   up to 8 consecutive blocks (of 32 elements) of a wide's outputs.
//   unit    the blocks, kUnit of them, that a format takes apart together.
//
// A format says how its weights read: w = d * (q - kZero) + m, with q as unsigned bytes, or, if kBytes, as W
// wants whole bytes (W::byte). kHalves: d and m are per 16 elements, not per 32. kMins: there is an m.
// quants() calls take(block of the unit, group, bytes) for every group of a unit, in ascending order within a
// block; all three are known once it is inlined, so that what is taken need not go through memory.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include <facet/blocks.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/onednn/kernels.h"
#include "backends/onednn/output_rows.h"

namespace facet::cpu {
namespace {

template <typename W>
struct Scales {
  typename W::F d[8][2];  // [block][half], the first one only unless kHalves
  typename W::F m[8][2];
};

// Where the blocks of a chunk lie; Rows is OutputRows or PackedRows.
template <typename Rows>
struct ChunkRows {
  Rows rows;
  uint32_t blocks;
};

// Dword k of the 16 bytes at `offset` of all outputs, for k in 0..3.
template <typename W>
FACET_CPU_INLINE void load_dwords(const OutputRows& rows, size_t offset, typename W::I* out) {
  W::load_dwords(rows, offset, out);
}
template <typename W>
FACET_CPU_INLINE void load_dwords(const PackedRows& rows, size_t offset, typename W::I* out) {
  FACET_CPU_UNROLL for (size_t k = 0; k < 4; ++k) out[k] = W::load(rows.fields<uint32_t>(offset + 4 * k));
}

// The low halves of 16 bytes are groups 0..3 of a block, the high ones 4..7: take(group, bytes).
template <typename W, typename Rows, typename Take>
FACET_CPU_INLINE void nibbles(const ChunkRows<Rows>& at, size_t offset, const Take& take) {
  typename W::I raw[4];
  load_dwords<W>(at.rows, offset, raw);
  const auto low = W::set(0x0f0f0f0fu);
  FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) take(k, W::bit_and(raw[k], low));
  FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) take(k + 4, W::bit_and(W::template right<4>(raw[k]), low));
}

// A 16-bit field of each block: [block] floats.
template <typename W, typename Block>
FACET_CPU_INLINE void half_fields(const ChunkRows<OutputRows>& at, size_t field, typename W::F (*out)[2]) {
  if (at.blocks == 8) return W::template halves_of_8<sizeof(Block)>(at.rows, field, out);
  uint16_t bits[8][W::kOutputs];
  for (uint32_t r = 0; r < W::kOutputs; ++r) {
    const uint8_t* p = at.rows.row(r) + field;
    for (uint32_t b = 0; b < at.blocks; ++b) std::memcpy(&bits[b][r], p + b * sizeof(Block), 2);
  }
  for (uint32_t b = 0; b < at.blocks; ++b) out[b][0] = W::halves(bits[b]);
}
template <typename W, typename Block>
FACET_CPU_INLINE void half_fields(const ChunkRows<PackedRows>& at, size_t field, typename W::F (*out)[2]) {
  for (uint32_t b = 0; b < at.blocks; ++b) {
    out[b][0] = W::halves(at.rows.fields<uint16_t>(b * sizeof(Block) + field));
  }
}

// The field of one block.
template <typename W>
FACET_CPU_INLINE typename W::F half_field(const OutputRows& rows, size_t field) {
  uint16_t bits[W::kOutputs];
  for (uint32_t r = 0; r < W::kOutputs; ++r) std::memcpy(&bits[r], rows.row(r) + field, 2);
  return W::halves(bits);
}
template <typename W>
FACET_CPU_INLINE typename W::F half_field(const PackedRows& rows, size_t field) {
  return W::halves(rows.fields<uint16_t>(field));
}

// Fifth bits of a block's groups, from 32 bits at `offset`.
template <typename W>
struct FifthBits {
  typename W::I bits;

  FACET_CPU_INLINE FifthBits(const OutputRows& rows, size_t offset) {
    uint32_t words[W::kOutputs];
    FACET_CPU_UNROLL for (uint32_t r = 0; r < W::kOutputs; ++r)
        std::memcpy(&words[r], rows.row(r) + offset, 4);
    bits = W::load(static_cast<const void*>(words));
  }
  FACET_CPU_INLINE FifthBits(const PackedRows& rows, size_t offset)
      : bits(W::load(rows.fields<uint32_t>(offset))) {}

  FACET_CPU_INLINE typename W::I add(int group, typename W::I bytes) const {
    const auto select = W::set(group % 2 == 0 ? 0x08040201u : 0x80402010u);
    return W::add_where(bytes, W::spread_byte(bits, static_cast<uint32_t>(group / 2)), select, 16);
  }
};

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
  static constexpr uint32_t kUnit = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = false;
  static constexpr int kZero = 8;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    half_fields<W, Block>(at, offsetof(Block, d), out.d);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    nibbles<W>(at, block * sizeof(Block) + offsetof(Block, qs),
               [&](int g, auto w) FACET_CPU_LAMBDA { take(0, g, w); });
  }
};

template <typename W>
struct Format<W, facet_block_q4_1> {
  using Block = facet_block_q4_1;
  static constexpr uint32_t kBlocks = 1, kUnit = 1;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    half_fields<W, Block>(at, offsetof(Block, d), out.d);
    half_fields<W, Block>(at, offsetof(Block, m), out.m);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    nibbles<W>(at, block * sizeof(Block) + offsetof(Block, qs),
               [&](int g, auto w) FACET_CPU_LAMBDA { take(0, g, w); });
  }
};

template <typename W>
struct Format<W, facet_block_q5_0> {
  using Block = facet_block_q5_0;
  static constexpr uint32_t kBlocks = 1, kUnit = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = false;
  static constexpr int kZero = 16;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    half_fields<W, Block>(at, offsetof(Block, d), out.d);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    const FifthBits<W> fifth(at.rows, block * sizeof(Block) + offsetof(Block, qh));
    nibbles<W>(at, block * sizeof(Block) + offsetof(Block, qs),
               [&](int g, auto w) FACET_CPU_LAMBDA { take(0, g, fifth.add(g, w)); });
  }
};

template <typename W>
struct Format<W, facet_block_q5_1> {
  using Block = facet_block_q5_1;
  static constexpr uint32_t kBlocks = 1, kUnit = 1;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    half_fields<W, Block>(at, offsetof(Block, d), out.d);
    half_fields<W, Block>(at, offsetof(Block, m), out.m);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    const FifthBits<W> fifth(at.rows, block * sizeof(Block) + offsetof(Block, qh));
    nibbles<W>(at, block * sizeof(Block) + offsetof(Block, qs),
               [&](int g, auto w) FACET_CPU_LAMBDA { take(0, g, fifth.add(g, w)); });
  }
};

template <typename W>
struct Format<W, facet_block_q8_0> {
  using Block = facet_block_q8_0;
  static constexpr uint32_t kBlocks = 1, kUnit = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = true;
  static constexpr int kZero = W::kByteZero;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    half_fields<W, Block>(at, offsetof(Block, d), out.d);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    FACET_CPU_UNROLL for (int h = 0; h < 2; ++h) {
      typename W::I raw[4];
      load_dwords<W>(at.rows, block * sizeof(Block) + offsetof(Block, qs) + 16 * static_cast<size_t>(h), raw);
      FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) take(0, 4 * h + k, W::byte(raw[k]));
    }
  }
};

template <typename W>
FACET_CPU_INLINE typename W::I iq4_value(typename W::I nibbles) {
  return W::byte(W::look_up(facet_iq4_values, nibbles));
}

template <typename W>
struct Format<W, facet_block_iq4_nl> {
  using Block = facet_block_iq4_nl;
  static constexpr uint32_t kBlocks = 1, kUnit = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = true;
  static constexpr int kZero = W::kByteZero;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    half_fields<W, Block>(at, offsetof(Block, d), out.d);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    nibbles<W>(at, block * sizeof(Block) + offsetof(Block, qs),
               [&](int g, auto w) FACET_CPU_LAMBDA { take(0, g, iq4_value<W>(w)); });
  }
};

template <typename W>
struct Format<W, facet_block_iq4_xs> {
  using Block = facet_block_iq4_xs;
  static constexpr uint32_t kBlocks = 8, kUnit = 1;
  static constexpr bool kHalves = false, kMins = false, kBytes = true;
  static constexpr int kZero = W::kByteZero;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    float scales[8][W::kOutputs];
    for (uint32_t r = 0; r < W::kOutputs; ++r) {
      Block block;
      block.d = at.rows.template field<uint16_t>(r, offsetof(Block, d));
      block.scales_h = at.rows.template field<uint16_t>(r, offsetof(Block, scales_h));
      const auto low = at.rows.template field<uint32_t>(r, offsetof(Block, scales_l));
      std::memcpy(block.scales_l, &low, sizeof low);
      const float d = facet_f16_to_f32(block.d);
      for (int g = 0; g < 8; ++g) scales[g][r] = d * static_cast<float>(facet_iq4_xs_scale(&block, g));
    }
    for (size_t b = 0; b < 8; ++b) out.d[b][0] = W::load(scales[b]);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    nibbles<W>(at, offsetof(Block, qs) + 16 * size_t{block},
               [&](int g, auto w) FACET_CPU_LAMBDA { take(0, g, iq4_value<W>(w)); });
  }
};

// Header and scales of Q4_K and Q5_K: 16 bytes d, dmin, scales[12] (facet_q4_k_scale).
template <typename W, typename Rows>
FACET_CPU_INLINE void q4_k_scales(const ChunkRows<Rows>& at, Scales<W>& out) {
  typename W::I head[4];
  load_dwords<W>(at.rows, 0, head);
  const auto d = W::halves(head[0]);
  const auto minus_dmin = W::mul(W::set(-1.0f), W::halves(W::template right<16>(head[0])));
  const auto six = W::set(0x3f3f3f3fu), four = W::set(0x0f0f0f0fu), two = W::set(0x30303030u);
  const typename W::I scales[2] = {
      W::bit_and(head[1], six),
      W::bit_or(W::bit_and(head[3], four), W::bit_and(W::template right<2>(head[1]), two))};
  const typename W::I mins[2] = {W::bit_and(head[2], six),
                                 W::bit_or(W::bit_and(W::template right<4>(head[3]), four),
                                           W::bit_and(W::template right<2>(head[2]), two))};
  FACET_CPU_UNROLL for (int b = 0; b < 8; ++b) {
    out.d[b][0] = W::mul(d, unsigned_byte<W>(scales[b / 4], b % 4));
    out.m[b][0] = W::mul(minus_dmin, unsigned_byte<W>(mins[b / 4], b % 4));
  }
}

template <typename W>
struct Format<W, facet_block_q4_k> {
  using Block = facet_block_q4_k;
  static constexpr uint32_t kBlocks = 8, kUnit = 2;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    q4_k_scales<W>(at, out);
  }
  // The low halves of 32 bytes are one block, the high ones the next.
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    const auto low = W::set(0x0f0f0f0fu);
    FACET_CPU_UNROLL for (int h = 0; h < 2; ++h) {
      typename W::I raw[4];
      load_dwords<W>(at.rows, offsetof(Block, qs) + 16 * size_t{block} + 16 * static_cast<size_t>(h), raw);
      FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) {
        take(0, 4 * h + k, W::bit_and(raw[k], low));
        take(1, 4 * h + k, W::bit_and(W::template right<4>(raw[k]), low));
      }
    }
  }
};

template <typename W>
struct Format<W, facet_block_q5_k> {
  using Block = facet_block_q5_k;
  static constexpr uint32_t kBlocks = 8, kUnit = 8;
  static constexpr bool kHalves = false, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    q4_k_scales<W>(at, out);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t, const Take& take) {
    const auto low = W::set(0x0f0f0f0fu);
    FACET_CPU_UNROLL for (int h = 0; h < 2; ++h) {
      const size_t half = 16 * static_cast<size_t>(h);
      typename W::I high[4];
      load_dwords<W>(at.rows, offsetof(Block, qh) + half, high);
      FACET_CPU_UNROLL for (int b = 0; b < 8; b += 2) {
        typename W::I raw[4];
        load_dwords<W>(at.rows, offsetof(Block, qs) + 16 * static_cast<size_t>(b) + half, raw);
        FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) {
          auto add = [&](int bit, typename W::I w) FACET_CPU_LAMBDA {
            return W::add_where(w, high[k], W::set(0x01010101u << bit), 16);
          };
          take(b, 4 * h + k, add(b, W::bit_and(raw[k], low)));
          take(b + 1, 4 * h + k, add(b + 1, W::bit_and(W::template right<4>(raw[k]), low)));
        }
      }
    }
  }
};

template <typename W>
struct Format<W, facet_block_q6_k> {
  using Block = facet_block_q6_k;
  static constexpr uint32_t kBlocks = 8, kUnit = 4;
  static constexpr bool kHalves = true, kMins = false, kBytes = false;
  static constexpr int kZero = 32;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    const auto d = half_field<W>(at.rows, offsetof(Block, d));
    typename W::I scales[4];
    load_dwords<W>(at.rows, offsetof(Block, scales), scales);
    auto scale = [&](typename W::I top)
                     FACET_CPU_LAMBDA { return W::mul(d, W::to_float(W::template right_signed<24>(top))); };
    FACET_CPU_UNROLL for (int g = 0; g < 4; ++g) {
      out.d[2 * g][0] = scale(W::template left<24>(scales[g]));
      out.d[2 * g][1] = scale(W::template left<16>(scales[g]));
      out.d[2 * g + 1][0] = scale(W::template left<8>(scales[g]));
      out.d[2 * g + 1][1] = scale(scales[g]);
    }
  }
  // A unit is a half of 128 elements.
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    const auto four = W::set(0x0f0f0f0fu), two = W::set(0x30303030u);
    FACET_CPU_UNROLL for (int h = 0; h < 2; ++h) {
      const size_t ql = offsetof(Block, ql) + 16 * size_t{block} + 16 * static_cast<size_t>(h);
      const size_t qh = offsetof(Block, qh) + 8 * size_t{block} + 16 * static_cast<size_t>(h);
      typename W::I high[4], raw[4];
      load_dwords<W>(at.rows, qh, high);
      load_dwords<W>(at.rows, ql, raw);
      FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) {
        const auto low_bits = W::bit_and(raw[k], four), high_bits = W::template right<4>(raw[k]);
        take(0, 4 * h + k, W::bit_or(low_bits, W::bit_and(W::template left<4>(high[k]), two)));
        take(2, 4 * h + k, W::bit_or(W::bit_and(high_bits, four), W::bit_and(high[k], two)));
      }
      load_dwords<W>(at.rows, ql + 32, raw);
      FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) {
        const auto low_bits = W::bit_and(raw[k], four), high_bits = W::template right<4>(raw[k]);
        take(1, 4 * h + k, W::bit_or(low_bits, W::bit_and(W::template left<2>(high[k]), two)));
        take(3, 4 * h + k,
             W::bit_or(W::bit_and(high_bits, four), W::bit_and(W::template right<2>(high[k]), two)));
      }
    }
  }
};

// Two-bit fields of 32 bytes, as a unit of Q2_K and Q3_K has them: take(block, group, bytes).
template <typename W, typename Rows, typename Take>
FACET_CPU_INLINE void two_bits(const ChunkRows<Rows>& at, size_t offset, const Take& take) {
  const auto two = W::set(0x03030303u);
  FACET_CPU_UNROLL for (int h = 0; h < 2; ++h) {
    typename W::I raw[4];
    load_dwords<W>(at.rows, offset + 16 * static_cast<size_t>(h), raw);
    FACET_CPU_UNROLL for (int k = 0; k < 4; ++k) {
      take(0, 4 * h + k, W::bit_and(raw[k], two));
      take(1, 4 * h + k, W::bit_and(W::template right<2>(raw[k]), two));
      take(2, 4 * h + k, W::bit_and(W::template right<4>(raw[k]), two));
      take(3, 4 * h + k, W::bit_and(W::template right<6>(raw[k]), two));
    }
  }
}

template <typename W>
struct Format<W, facet_block_q2_k> {
  using Block = facet_block_q2_k;
  static constexpr uint32_t kBlocks = 8, kUnit = 4;
  static constexpr bool kHalves = true, kMins = true, kBytes = false;
  static constexpr int kZero = 0;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    const auto d = half_field<W>(at.rows, offsetof(Block, d));
    const auto minus_dmin = W::mul(W::set(-1.0f), half_field<W>(at.rows, offsetof(Block, dmin)));
    typename W::I both[4];
    load_dwords<W>(at.rows, offsetof(Block, scales), both);
    const auto four = W::set(0x0f0f0f0fu);
    FACET_CPU_UNROLL for (int g = 0; g < 16; ++g) {
      auto scales = W::bit_and(both[g / 4], four), mins = W::bit_and(W::template right<4>(both[g / 4]), four);
      out.d[g / 2][g % 2] = W::mul(d, unsigned_byte<W>(scales, g % 4));
      out.m[g / 2][g % 2] = W::mul(minus_dmin, unsigned_byte<W>(mins, g % 4));
    }
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    two_bits<W>(at, offsetof(Block, qs) + 8 * size_t{block}, take);
  }
};

template <typename W>
struct Format<W, facet_block_q3_k> {
  using Block = facet_block_q3_k;
  static constexpr uint32_t kBlocks = 8, kUnit = 4;
  static constexpr bool kHalves = true, kMins = false, kBytes = false;
  static constexpr int kZero = 4;

  template <typename Rows>
  FACET_CPU_INLINE static void scales(const ChunkRows<Rows>& at, Scales<W>& out) {
    float scales[16][W::kOutputs];
    for (uint32_t r = 0; r < W::kOutputs; ++r) {
      uint32_t packed[3];
      for (size_t k = 0; k < 3; ++k) {
        packed[k] = at.rows.template field<uint32_t>(r, offsetof(Block, scales) + 4 * k);
      }
      uint8_t bytes[sizeof packed];
      std::memcpy(bytes, packed, sizeof packed);
      const float d = facet_f16_to_f32(at.rows.template field<uint16_t>(r, offsetof(Block, d)));
      for (int g = 0; g < 16; ++g) scales[g][r] = d * static_cast<float>(facet_q3_k_scale(bytes, g));
    }
    for (int g = 0; g < 16; ++g) out.d[g / 2][g % 2] = W::load(scales[g]);
  }
  template <typename Rows, typename Take>
  FACET_CPU_INLINE static void quants(const ChunkRows<Rows>& at, uint32_t block, const Take& take) {
    typename W::I high[8];  // the bits of all units; those of this one are brought down
    load_dwords<W>(at.rows, offsetof(Block, hmask), high);
    load_dwords<W>(at.rows, offsetof(Block, hmask) + 16, high + 4);
    FACET_CPU_UNROLL for (int g = 0; g < 8; ++g) high[g] = W::right(high[g], static_cast<int>(block));
    two_bits<W>(at, offsetof(Block, qs) + 8 * size_t{block}, [&](int b, int g, auto w) FACET_CPU_LAMBDA {
      take(b, g, W::add_where(w, high[g], W::set(0x01010101u << b), 4));
    });
  }
};

}  // namespace
}  // namespace facet::cpu
