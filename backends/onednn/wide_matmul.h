// A matmul tile over wides of outputs (formats.h): each chunk of weights is taken apart once, then multiplied
// with all rows of the tile.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include <type_traits>

#include "backends/onednn/formats.h"
#include "backends/onednn/kernels.h"

#if defined(__clang__)
#define FACET_CPU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FACET_CPU_UNROLL _Pragma("GCC unroll 16")
#endif

namespace facet::cpu {
namespace {

// Some rows of activations, from the chunk's first block on.
struct ChunkActs {
  const std::byte* first;  // the first row's quants of the chunk
  size_t stride;
  size_t scales, sums, half_sums, scaled_sums;  // of the chunk, from `first` on

  ChunkActs(const MatmulTile& tile, const ActRow& row, uint32_t r, uint32_t block)
      : first(tile.acts + r * tile.act_stride + size_t{block} * kBlock),
        stride(tile.act_stride),
        scales(row.scales - size_t{block} * (kBlock - 4)),
        sums(row.sums - size_t{block} * (kBlock - 4)),
        half_sums(row.half_sums - size_t{block} * (kBlock - 8)),
        scaled_sums(row.scaled_sums - size_t{block} * (kBlock - 4)) {}

  const int8_t* q(int r, uint32_t block) const {
    return reinterpret_cast<const int8_t*>(first + static_cast<size_t>(r) * stride + size_t{block} * kBlock);
  }
  template <typename T>
  T field(size_t offset, int r, uint32_t number) const {
    return reinterpret_cast<const T*>(first + static_cast<size_t>(r) * stride + offset)[number];
  }
};

constexpr int log2_of(int power) {
  return power <= 1 ? 0 : 1 + log2_of(power / 2);
}

// What the dot product starts from, so that it comes to the sum of (q - kZero) * x.
template <typename W, typename Format>
inline typename W::I start(int32_t minus_sum) {
  if constexpr (Format::kZero == 0) {
    static_cast<void>(minus_sum);
    return W::set(0u);
  } else {
    return W::template left<log2_of(Format::kZero)>(W::set(static_cast<uint32_t>(minus_sum)));
  }
}

// lanes [R, outputs] of R rows, brought forward by the chunk's blocks.
template <typename W, typename Format, int R>
inline void multiply_chunk(const Chunk<W>& chunk, uint32_t blocks, const ChunkActs& acts, float* lanes) {
  typename W::F sum[R];
  FACET_CPU_UNROLL for (int r = 0; r < R; ++r) sum[r] = W::load(lanes + r * W::kOutputs);
  constexpr int kParts = Format::kHalves ? 2 : 1;
  for (uint32_t b = 0; b < blocks; ++b) {
    FACET_CPU_UNROLL for (int part = 0; part < kParts; ++part) {
      typename W::I dots[R];
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        dots[r] =
            start<W, Format>(Format::kHalves ? acts.template field<int32_t>(acts.half_sums, r, 2 * b + part)
                                             : acts.template field<int32_t>(acts.sums, r, b));
      }
      FACET_CPU_UNROLL for (int g = 8 / kParts * part; g < 8 / kParts * (part + 1); ++g) {
        const typename W::I w = chunk.q[b][g];
        FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
          const int8_t* x = acts.q(r, b) + 4 * g;
          dots[r] = Format::kBytes ? W::dot_byte(dots[r], w, x) : W::dot(dots[r], w, x);
        }
      }
      const typename W::F d = chunk.d[b][part];
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        const float dx = acts.template field<float>(acts.scales, r, b);
        sum[r] = W::fma(W::mul(d, W::set(dx)), W::to_float(dots[r]), sum[r]);
      }
      if constexpr (Format::kMins) {
        const typename W::F m = chunk.m[b][part];
        FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
          float s;
          if constexpr (Format::kHalves) {
            s = acts.template field<float>(acts.scales, r, b) *
                static_cast<float>(-acts.template field<int32_t>(acts.half_sums, r, 2 * b + part));
          } else {
            s = acts.template field<float>(acts.scaled_sums, r, b);
          }
          sum[r] = W::fma(m, W::set(s), sum[r]);
        }
      }
    }
  }
  FACET_CPU_UNROLL for (int r = 0; r < R; ++r) W::store(lanes + r * W::kOutputs, sum[r]);
}

// Asks for weights before they are read: rows lie too far apart for the CPU to guess the next ones. Where a
// wide of outputs is small, for the next wide; else some chunks ahead in the same rows.
class Ahead {
 public:
  // A chunk, one of `chunks`, has `bytes` of each of `outputs`.
  Ahead(const MatmulTile& tile, uint32_t outputs, uint32_t chunks, size_t bytes)
      : next_(tile.weights),
        end_(tile.weights + tile.outputs * tile.weight_stride),
        wide_(outputs * tile.weight_stride),
        row_(tile.weight_stride),
        step_(bytes),
        steps_(chunks) {
    const bool small = wide_ <= 24 * 1024;
    if (small) {
      row_ = wide_;
      step_ = wide_ / chunks + 1;
    }
    for (size_t n = 0; n < (small ? wide_ : 6 * 1024); n += small ? step_ : outputs * bytes) advance();
  }

  void advance() {
    const uint8_t* wide_end = wide_ < static_cast<size_t>(end_ - next_) ? next_ + wide_ : end_;
    for (const uint8_t* row = next_; row < wide_end; row += row_) {
      const uint8_t* line = row + now_ * step_;
      const uint8_t* stop = line + step_ < wide_end ? line + step_ : wide_end;
      for (line += (0 - reinterpret_cast<uintptr_t>(line)) % 64; line < stop; line += 64)
        __builtin_prefetch(line);
    }
    if (++now_ < steps_) return;
    now_ = 0;
    next_ = wide_end;
  }

 private:
  const uint8_t *next_, *end_;
  size_t wide_, row_, step_;
  uint32_t steps_, now_ = 0;
};

template <typename W, typename Block>
void matmul_wide(const MatmulTile& tile) {
  using F = Format<W, Block>;
  const ActRow row(ActKind::kBlocks, tile.width);
  auto* lanes = reinterpret_cast<float*>(tile.scratch);  // [rows, outputs of a wide]
  const uint32_t blocks = tile.width / kBlock;
  Ahead ahead(tile, W::kOutputs, (blocks + 7) / 8, 8 / F::kBlocks * sizeof(Block));
  for (uint32_t first = 0; first < tile.outputs; first += W::kOutputs) {
    const uint32_t count = tile.outputs - first < W::kOutputs ? tile.outputs - first : W::kOutputs;
    const uint8_t* rows[W::kOutputs];  // those past the end repeat the last one
    for (uint32_t c = 0; c < W::kOutputs; ++c) {
      rows[c] = tile.weights + (first + (c < count ? c : count - 1)) * tile.weight_stride;
    }
    std::memset(lanes, 0, size_t{tile.rows} * W::kOutputs * sizeof(float));
    for (uint32_t block = 0; block < blocks; block += 8) {
      const uint32_t n = blocks - block < 8 ? blocks - block : 8;
      ahead.advance();
      Chunk<W> chunk;
      F::unpack({rows, block / F::kBlocks * sizeof(Block), n}, chunk);
      uint32_t r = 0;
      auto advance = [&](auto many) {
        constexpr int R = decltype(many)::value;
        multiply_chunk<W, F, R>(chunk, n, ChunkActs(tile, row, r, block), lanes + r * W::kOutputs);
        r += R;
      };
      while (r + W::kRows <= tile.rows) advance(std::integral_constant<int, W::kRows>());
      if (W::kRows > 4 && r + 4 <= tile.rows) advance(std::integral_constant<int, 4>());
      if (r + 2 <= tile.rows) advance(std::integral_constant<int, 2>());
      if (r < tile.rows) advance(std::integral_constant<int, 1>());
    }
    for (uint32_t r = 0; r < tile.rows; ++r) {
      float* out = tile.out + r * tile.out_stride + first;
      const typename W::F sum = W::load(lanes + r * W::kOutputs);
      if (count == W::kOutputs) {
        W::store(out, sum);
      } else {
        W::store_first(out, count, sum);
      }
    }
  }
}

template <typename W>
void matmul_quantised(const MatmulTile& tile) {
  switch (tile.type) {
    case FACET_TYPE_Q4_0:
      return matmul_wide<W, facet_block_q4_0>(tile);
    case FACET_TYPE_Q4_1:
      return matmul_wide<W, facet_block_q4_1>(tile);
    case FACET_TYPE_Q5_0:
      return matmul_wide<W, facet_block_q5_0>(tile);
    case FACET_TYPE_Q5_1:
      return matmul_wide<W, facet_block_q5_1>(tile);
    case FACET_TYPE_Q8_0:
      return matmul_wide<W, facet_block_q8_0>(tile);
    case FACET_TYPE_IQ4_NL:
      return matmul_wide<W, facet_block_iq4_nl>(tile);
    case FACET_TYPE_IQ4_XS:
      return matmul_wide<W, facet_block_iq4_xs>(tile);
    case FACET_TYPE_Q2_K:
      return matmul_wide<W, facet_block_q2_k>(tile);
    case FACET_TYPE_Q3_K:
      return matmul_wide<W, facet_block_q3_k>(tile);
    case FACET_TYPE_Q4_K:
      return matmul_wide<W, facet_block_q4_k>(tile);
    case FACET_TYPE_Q5_K:
      return matmul_wide<W, facet_block_q5_k>(tile);
    case FACET_TYPE_Q6_K:
      return matmul_wide<W, facet_block_q6_k>(tile);
  }
}

}  // namespace
}  // namespace facet::cpu
