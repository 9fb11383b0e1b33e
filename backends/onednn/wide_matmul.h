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

// sums [R, T * outputs of a wide] of R rows and T wides, brought forward by the chunk's blocks.
template <typename W, typename Format, int R, int T>
inline void multiply_chunk(const Chunk<W>* chunk, uint32_t blocks, const ChunkActs& acts, float* sums) {
  typename W::F sum[R][T];
  FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
    FACET_CPU_UNROLL for (int t = 0; t < T; ++t) sum[r][t] = W::load(sums + (r * T + t) * int{W::kOutputs});
  }
  constexpr int kParts = Format::kHalves ? 2 : 1;
  for (uint32_t b = 0; b < blocks; ++b) {
    FACET_CPU_UNROLL for (int part = 0; part < kParts; ++part) {
      typename W::I dots[R][T];
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        const auto from =
            start<W, Format>(Format::kHalves ? acts.template field<int32_t>(acts.half_sums, r, 2 * b + part)
                                             : acts.template field<int32_t>(acts.sums, r, b));
        FACET_CPU_UNROLL for (int t = 0; t < T; ++t) dots[r][t] = from;
      }
      FACET_CPU_UNROLL for (int g = 8 / kParts * part; g < 8 / kParts * (part + 1); ++g) {
        FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
          const typename W::I x = W::four(acts.q(r, b) + 4 * g);
          FACET_CPU_UNROLL for (int t = 0; t < T; ++t) {
            const typename W::I w = chunk[t].q[b][g];
            dots[r][t] = Format::kBytes ? W::dot_byte(dots[r][t], w, x) : W::dot(dots[r][t], w, x);
          }
        }
      }
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        const typename W::F dx = W::set(acts.template field<float>(acts.scales, r, b));
        FACET_CPU_UNROLL for (int t = 0; t < T; ++t) {
          sum[r][t] = W::fma(W::mul(chunk[t].d[b][part], dx), W::to_float(dots[r][t]), sum[r][t]);
        }
      }
      if constexpr (Format::kMins) {
        FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
          float s;
          if constexpr (Format::kHalves) {
            s = acts.template field<float>(acts.scales, r, b) *
                static_cast<float>(-acts.template field<int32_t>(acts.half_sums, r, 2 * b + part));
          } else {
            s = acts.template field<float>(acts.scaled_sums, r, b);
          }
          FACET_CPU_UNROLL for (int t = 0; t < T; ++t) {
            sum[r][t] = W::fma(chunk[t].m[b][part], W::set(s), sum[r][t]);
          }
        }
      }
    }
  }
  FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
    FACET_CPU_UNROLL for (int t = 0; t < T; ++t) W::store(sums + (r * T + t) * int{W::kOutputs}, sum[r][t]);
  }
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

// T wides of outputs from `first` on, of which `count` are stored.
template <typename W, typename Block, int T>
inline void multiply_wides(const MatmulTile& tile, const ActRow& row, uint32_t first, uint32_t count,
                           size_t stride, Ahead& ahead) {
  using F = Format<W, Block>;
  auto* sums = reinterpret_cast<float*>(tile.scratch);  // [rows, T * outputs of a wide]
  const uint32_t blocks = tile.width / kBlock;
  std::memset(sums, 0, size_t{tile.rows} * T * W::kOutputs * sizeof(float));
  for (uint32_t block = 0; block < blocks; block += 8) {
    const uint32_t n = blocks - block < 8 ? blocks - block : 8;
    Chunk<W> chunk[T];
    const uint8_t* weights = tile.weights + first * tile.weight_stride + block / F::kBlocks * sizeof(Block);
    ahead.advance();
    for (uint32_t t = 0; t < T; ++t) {
      F::unpack({weights + t * W::kOutputs * stride, stride, n}, chunk[t]);
    }
    uint32_t r = 0;
    auto advance = [&](auto many) {
      constexpr int R = decltype(many)::value;
      multiply_chunk<W, F, R, T>(chunk, n, ChunkActs(tile, row, r, block), sums + r * T * W::kOutputs);
      r += R;
    };
    while (r + W::kRows <= tile.rows) advance(std::integral_constant<int, W::kRows>());
    if (W::kRows > 4 && r + 4 <= tile.rows) advance(std::integral_constant<int, 4>());
    if (r + 2 <= tile.rows) advance(std::integral_constant<int, 2>());
    if (r < tile.rows) advance(std::integral_constant<int, 1>());
  }
  for (uint32_t r = 0; r < tile.rows; ++r) {
    float* out = tile.out + r * tile.out_stride + first;
    for (uint32_t t = 0; t < T; ++t) {
      const typename W::F sum = W::load(sums + (r * T + t) * W::kOutputs);
      if (count == 1) {
        W::store_first(out, 1, sum);
      } else {
        W::store(out + t * W::kOutputs, sum);
      }
    }
  }
}

template <typename W, typename Block>
void matmul_wide(const MatmulTile& tile) {
  const ActRow row(ActKind::kBlocks, tile.width);
  const uint32_t chunks = (tile.width / kBlock + 7) / 8;
  // For few rows the time goes to the weights, and more of them at once would crowd the first-level cache.
  const bool many = tile.rows >= static_cast<uint32_t>(W::kRows);
  constexpr uint32_t kTogether = W::kWides * W::kOutputs;
  Ahead ahead(tile, many ? kTogether : W::kOutputs, chunks, 8 / Format<W, Block>::kBlocks * sizeof(Block));
  uint32_t first = 0;
  for (; many && first + kTogether <= tile.outputs; first += kTogether) {
    multiply_wides<W, Block, W::kWides>(tile, row, first, kTogether, tile.weight_stride, ahead);
  }
  for (; first + W::kOutputs <= tile.outputs; first += W::kOutputs) {
    multiply_wides<W, Block, 1>(tile, row, first, W::kOutputs, tile.weight_stride, ahead);
  }
  if (first == tile.outputs) return;
  if (tile.outputs > W::kOutputs) {  // some again, with the same results
    multiply_wides<W, Block, 1>(tile, row, tile.outputs - W::kOutputs, W::kOutputs, tile.weight_stride,
                                ahead);
    return;
  }
  // A wide of the same output many times over.
  for (; first < tile.outputs; ++first) multiply_wides<W, Block, 1>(tile, row, first, 1, 0, ahead);
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
