// A matmul tile over wides of outputs (formats.h). For many rows each chunk of weights is taken apart once,
// into the first-level cache, and multiplied with all rows of the tile. For few rows it is multiplied while
// it is taken apart, in registers.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include <type_traits>

#include "backends/onednn/ahead.h"
#include "backends/onednn/formats.h"
#include "backends/onednn/kernels.h"

namespace facet::cpu {
namespace {

// Whether W multiplies pairs of groups with several rows by operations of its own.
template <typename W>
concept OfPairs = requires(typename W::I* groups) {
  W::pair_groups(groups);
};

// A chunk, taken apart.
template <typename W>
struct Chunk {
  typename W::I q[8][8];  // [block][group]
  Scales<W> scales;
};

template <typename W, typename Format, typename Rows>
inline void unpack(const ChunkRows<Rows>& at, Chunk<W>& chunk) {
  Format::scales(at, chunk.scales);
  for (uint32_t unit = 0; unit < at.blocks; unit += Format::kUnit) {
    Format::quants(at, unit, [&](int b, int g, auto w) FACET_CPU_LAMBDA {
      chunk.q[unit + static_cast<uint32_t>(b)][g] = w;
    });
  }
  if constexpr (OfPairs<W>) {
    for (uint32_t b = 0; b < at.blocks; ++b) W::pair_groups(chunk.q[b]);
  }
}

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

// dx * (sum of x) of a block or half.
template <typename Format>
FACET_CPU_INLINE float scaled_sum(const ChunkActs& acts, int r, uint32_t b, int part) {
  if constexpr (Format::kHalves) {
    return acts.template field<float>(acts.scales, r, b) *
           static_cast<float>(static_cast<int32_t>(
               0 - acts.template field<uint32_t>(acts.half_sums, r, 2 * b + static_cast<uint32_t>(part))));
  } else {
    return acts.template field<float>(acts.scaled_sums, r, b);
  }
}

// dots += products of the groups [first, end) of block b.
template <typename W, typename Format, int R, int T>
FACET_CPU_INLINE void add_products(const Chunk<W>* chunk, const ChunkActs& acts, uint32_t b, int first,
                                   int end, typename W::I (&dots)[R][T]) {
  if constexpr (OfPairs<W>) {
    const typename W::I* groups[T];
    const int8_t* x[R];
    for (int t = 0; t < T; ++t) groups[t] = chunk[t].q[b];
    for (int r = 0; r < R; ++r) x[r] = acts.q(r, b);
    W::template add_products<R, T>(groups, x, first, end, dots);
  } else {
    FACET_CPU_UNROLL for (int g = first; g < end; ++g) {
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        const typename W::I x = W::four(acts.q(r, b) + 4 * g);
        FACET_CPU_UNROLL for (int t = 0; t < T; ++t) {
          const typename W::I w = chunk[t].q[b][g];
          dots[r][t] = Format::kBytes ? W::dot_byte(dots[r][t], w, x) : W::dot(dots[r][t], w, x);
        }
      }
    }
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
      add_products<W, Format, R, T>(chunk, acts, b, 8 / kParts * part, 8 / kParts * (part + 1), dots);
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        const typename W::F dx = W::set(acts.template field<float>(acts.scales, r, b));
        FACET_CPU_UNROLL for (int t = 0; t < T; ++t) {
          sum[r][t] = W::fma(W::mul(chunk[t].scales.d[b][part], dx), W::to_float(dots[r][t]), sum[r][t]);
        }
      }
      if constexpr (Format::kMins) {
        FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
          const float s = scaled_sum<Format>(acts, r, b, part);
          FACET_CPU_UNROLL for (int t = 0; t < T; ++t) {
            sum[r][t] = W::fma(chunk[t].scales.m[b][part], W::set(s), sum[r][t]);
          }
        }
      }
    }
  }
  FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
    FACET_CPU_UNROLL for (int t = 0; t < T; ++t) W::store(sums + (r * T + t) * int{W::kOutputs}, sum[r][t]);
  }
}

// A tile's weights as they lie in the file.
struct FileWeights {
  const MatmulTile& tile;
  Ahead& ahead;
  size_t stride;  // bytes from one output to the next that is read with it

  // The rows of outputs from `first` on, from byte `offset` of a row on.
  FACET_CPU_INLINE OutputRows rows(uint32_t first, size_t offset) const {
    return {tile.weights + first * tile.weight_stride + offset, stride};
  }
  FACET_CPU_INLINE void advance(uint32_t blocks) const { ahead.advance(blocks); }
};

struct PackedWeights {
  const MatmulTile& tile;
  Ahead& ahead;

  FACET_CPU_INLINE PackedRows rows(uint32_t first, size_t offset) const {
    const size_t group = first / kPackedOutputs * kPackedOutputs;
    return {tile.packed + group * tile.weight_stride + kPackedOutputs * offset, first % kPackedOutputs};
  }
  FACET_CPU_INLINE void advance(uint32_t blocks) const { ahead.advance(blocks); }
};

// sum of R rows, brought forward by a unit: what is taken apart is multiplied at once.
template <typename W, typename Format, int R, typename Rows>
FACET_CPU_INLINE void multiply_unit(const ChunkRows<Rows>& at, const Scales<W>& scales, uint32_t unit,
                                    const ChunkActs& acts, typename W::F* sum) {
  constexpr int kUnit = Format::kUnit, kParts = Format::kHalves ? 2 : 1, kGroups = 8 / kParts;
  typename W::I dots[kUnit][kParts][R];
  FACET_CPU_UNROLL for (int b = 0; b < kUnit; ++b) {
    FACET_CPU_UNROLL for (int part = 0; part < kParts; ++part) {
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        const uint32_t block = unit + static_cast<uint32_t>(b);
        dots[b][part][r] =
            start<W, Format>(Format::kHalves ? acts.template field<int32_t>(
                                                   acts.half_sums, r, 2 * block + static_cast<uint32_t>(part))
                                             : acts.template field<int32_t>(acts.sums, r, block));
      }
    }
  }
  Format::quants(at, unit, [&](int b, int g, typename W::I w) FACET_CPU_LAMBDA {
    FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
      const typename W::I x = W::four(acts.q(r, unit + static_cast<uint32_t>(b)) + 4 * g);
      typename W::I& dot = dots[b][g / kGroups][r];
      dot = Format::kBytes ? W::dot_byte(dot, w, x) : W::dot(dot, w, x);
    }
  });
  FACET_CPU_UNROLL for (int b = 0; b < kUnit; ++b) {
    const uint32_t block = unit + static_cast<uint32_t>(b);
    FACET_CPU_UNROLL for (int part = 0; part < kParts; ++part) {
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        const typename W::F d =
            W::mul(scales.d[block][part], W::set(acts.template field<float>(acts.scales, r, block)));
        sum[r] = W::fma(d, W::to_float(dots[b][part][r]), sum[r]);
        if constexpr (Format::kMins) {
          sum[r] = W::fma(scales.m[block][part], W::set(scaled_sum<Format>(acts, r, block, part)), sum[r]);
        }
      }
    }
  }
}

// T wides of outputs from `first` on, times R rows; of one wide `count` outputs are stored.
template <typename W, typename Block, int R, int T, typename Weights>
inline void multiply_few(const MatmulTile& tile, const ActRow& row, uint32_t first, uint32_t count,
                         const Weights& weights) {
  using F = Format<W, Block>;
  const uint32_t blocks = tile.width / kBlock;
  typename W::F sums[T][R];
  for (auto& of_wide : sums) {
    FACET_CPU_UNROLL for (int r = 0; r < R; ++r) of_wide[r] = W::set(0.0f);
  }
  for (uint32_t block = 0; block < blocks; block += 8) {
    const uint32_t n = blocks - block < 8 ? blocks - block : 8;
    const ChunkActs acts(tile, row, 0, block);
    for (uint32_t t = 0; t < T; ++t) {
      const uint32_t output = first + t * W::kOutputs;
      const ChunkRows at{weights.rows(output, block / F::kBlocks * sizeof(Block)), n};
      Scales<W> scales;
      F::scales(at, scales);
      for (uint32_t unit = 0; unit < n; unit += F::kUnit) {
        weights.advance(F::kUnit);
        multiply_unit<W, F, R>(at, scales, unit, acts, sums[t]);
      }
    }
  }
  for (uint32_t t = 0; t < T; ++t) {
    FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
      float* out = tile.out + static_cast<size_t>(r) * tile.out_stride + first + t * W::kOutputs;
      if (count == 1) {
        W::store_first(out, 1, sums[t][r]);
      } else {
        W::store(out, sums[t][r]);
      }
    }
  }
}

// T wides of outputs from `first` on, of which `count` are stored.
template <typename W, typename Block, int T, typename Weights>
inline void multiply_wides(const MatmulTile& tile, const ActRow& row, uint32_t first, uint32_t count,
                           const Weights& weights) {
  using F = Format<W, Block>;
  auto* sums = reinterpret_cast<float*>(tile.scratch);  // [rows, T * outputs of a wide]
  const uint32_t blocks = tile.width / kBlock;
  std::memset(sums, 0, size_t{tile.rows} * T * W::kOutputs * sizeof(float));
  for (uint32_t block = 0; block < blocks; block += 8) {
    const uint32_t n = blocks - block < 8 ? blocks - block : 8;
    Chunk<W> chunk[T];
    weights.advance(8);
    for (uint32_t t = 0; t < T; ++t) {
      const uint32_t output = first + t * W::kOutputs;
      unpack<W, F>(ChunkRows{weights.rows(output, block / F::kBlocks * sizeof(Block)), n}, chunk[t]);
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

// Calls multiply(first, count, weights) for the wides of outputs from `first` on.
template <typename W, typename Multiply>
FACET_CPU_INLINE void each_wide(const MatmulTile& tile, uint32_t first, Ahead& ahead,
                                const Multiply& multiply) {
  const FileWeights weights{tile, ahead, tile.weight_stride};
  for (; first + W::kOutputs <= tile.outputs; first += W::kOutputs) multiply(first, W::kOutputs, weights);
  if (first == tile.outputs) return;
  if (tile.outputs > W::kOutputs) {  // some again, with the same results
    multiply(tile.outputs - W::kOutputs, W::kOutputs, weights);
    return;
  }
  // A wide of the same output many times over.
  for (; first < tile.outputs; ++first) multiply(first, 1, FileWeights{tile, ahead, 0});
}

// The most rows that are multiplied in registers: they hold a sum of each row and each part of a unit.
template <typename W, typename Format>
constexpr uint32_t few_rows() {
  constexpr uint32_t each = Format::kUnit * (Format::kHalves ? 2 : 1);
  return W::kFewSums / each < 1 ? 1 : W::kFewSums / each > 4 ? 4 : W::kFewSums / each;
}

template <typename W, typename Block, int R>
inline void matmul_few(const MatmulTile& tile, const ActRow& row) {
  const uint32_t blocks = tile.width / kBlock;
  const size_t bytes = 8 / Format<W, Block>::kBlocks * sizeof(Block);
  Ahead ahead(tile, W::kOutputs, blocks, bytes);
  if (tile.packed == nullptr) {
    return each_wide<W>(tile, 0, ahead, [&](uint32_t first, uint32_t count, const FileWeights& weights) {
      multiply_few<W, Block, R, 1>(tile, row, first, count, weights);
    });
  }
  // A whole group at a time, so that memory is read in its order.
  constexpr int kWides = kPackedOutputs / W::kOutputs;
  for (uint32_t first = 0; first < tile.outputs; first += kPackedOutputs) {
    multiply_few<W, Block, R, kWides>(tile, row, first, kPackedOutputs, PackedWeights{tile, ahead});
  }
}

template <typename W, typename Block>
inline void matmul_many(const MatmulTile& tile, const ActRow& row) {
  // For few rows the time goes to the weights, and more of them at once would crowd the first-level cache.
  const bool many = tile.rows >= static_cast<uint32_t>(W::kRows);
  constexpr uint32_t kTogether = W::kWides * W::kOutputs;
  Ahead ahead(tile, many ? kTogether : W::kOutputs, tile.width / kBlock,
              8 / Format<W, Block>::kBlocks * sizeof(Block));
  auto one = [&](uint32_t first, uint32_t count, const auto& weights) {
    multiply_wides<W, Block, 1>(tile, row, first, count, weights);
  };
  auto together = [&](const auto& weights) {
    uint32_t first = 0;
    for (; many && first + kTogether <= tile.outputs; first += kTogether) {
      multiply_wides<W, Block, W::kWides>(tile, row, first, kTogether, weights);
    }
    return first;
  };
  if (tile.packed == nullptr) {
    each_wide<W>(tile, together(FileWeights{tile, ahead, tile.weight_stride}), ahead, one);
  } else {
    const PackedWeights weights{tile, ahead};
    for (uint32_t first = together(weights); first < tile.outputs; first += W::kOutputs) {
      one(first, W::kOutputs, weights);
    }
  }
}

template <typename W, typename Block>
void matmul_wide(const MatmulTile& tile) {
  const ActRow row(ActKind::kBlocks, tile.width);
  constexpr uint32_t kFew = few_rows<W, Format<W, Block>>();
  if (tile.rows == 1) return matmul_few<W, Block, 1>(tile, row);
  if (kFew >= 2 && tile.rows == 2) return matmul_few<W, Block, 2>(tile, row);
  if (kFew >= 3 && tile.rows == 3) return matmul_few<W, Block, 3>(tile, row);
  if (kFew >= 4 && tile.rows == 4) return matmul_few<W, Block, 4>(tile, row);
  matmul_many<W, Block>(tile, row);
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
