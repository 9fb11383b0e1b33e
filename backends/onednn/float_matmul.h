// Matmul tiles of float weights over lanes (lanes.h). For many rows a chunk of some outputs is widened once,
// into a panel in the first-level cache, and multiplied with all rows of the tile while it lies there. For
// few rows weights are multiplied while they are widened, in registers.
//
//   panel   kPanelOutputs outputs times kPanelWidth elements as float32: per 8 elements, 8 of each output.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include "backends/onednn/ahead.h"
#include "backends/onednn/kernels.h"
#include "backends/onednn/lanes.h"
#include "backends/onednn/output_rows.h"

namespace facet::cpu {
namespace {

constexpr uint32_t kPanelOutputs = 8, kPanelWidth = 512;
constexpr size_t kPanelBytes = size_t{kPanelOutputs} * kPanelWidth * sizeof(float);
constexpr size_t kLaneBytes = size_t{kPanelOutputs} * 8 * sizeof(float);  // of a row's sums in a panel

// How many rows and outputs a set multiplies at a time, in registers: vectors of kOutputs outputs, 8 lanes of
// each.
template <typename L>
struct FloatTile {
  using C = typename L::Columns;
  static constexpr uint32_t kOutputs = C::kCount / 8;  // of a vector
  static constexpr int kVectors = 4;                   // side by side
  static constexpr int kRows = kOutputs == 2 ? 6 : 3;
  static constexpr uint32_t kFewRows = kOutputs == 2 ? 4 : 3;  // at most, that are multiplied in registers
};

// [outputs, 8] lanes to [outputs] sums, of which `count` are stored.
template <typename L>
FACET_CPU_INLINE void reduce_outputs(const float* lanes, uint32_t count, float* out) {
  for (uint32_t c = 0; c < count; c += 4, lanes += 32) {
    float four[4];
    L::reduce_four(lanes, four);
    if (count - c >= 4) {
      std::memcpy(out + c, four, sizeof four);
    } else {
      for (uint32_t i = c; i < count; ++i) out[i] = four[i - c];
    }
  }
}

// The rows of kCount outputs from `first` on; those after the tile's last output are that one.
template <typename T, uint32_t kCount>
struct WeightRows {
  const T* rows[kCount];

  WeightRows(const MatmulTile& tile, uint32_t first) {
    for (uint32_t c = 0; c < kCount; ++c) {
      const uint32_t output = first + c < tile.outputs ? first + c : tile.outputs - 1;
      rows[c] = reinterpret_cast<const T*>(tile.weights + output * tile.weight_stride);
    }
  }
};

// R rows times the outputs of kVectors vectors from `first` on.
template <typename L, typename T, int R>
inline void multiply_few(const MatmulTile& tile, uint32_t first, Ahead& ahead) {
  using Tile = FloatTile<L>;
  using C = typename L::Columns;
  constexpr int P = Tile::kVectors;
  constexpr uint32_t kOutputs = P * Tile::kOutputs;
  const WeightRows<T, kOutputs> weights(tile, first);
  typename C::V sum[R][P];
  FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
    FACET_CPU_UNROLL for (int p = 0; p < P; ++p) sum[r][p] = C::set(0.0f);
  }
  auto add = [&](const auto& load) FACET_CPU_LAMBDA {
    typename C::V x[R];
    FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
      x[r] = C::repeat(
          load(reinterpret_cast<const float*>(tile.acts + static_cast<size_t>(r) * tile.act_stride)));
    }
    FACET_CPU_UNROLL for (int p = 0; p < P; ++p) {
      typename L::V rows[Tile::kOutputs];
      FACET_CPU_UNROLL for (uint32_t c = 0; c < Tile::kOutputs; ++c) {
        rows[c] = load(weights.rows[static_cast<uint32_t>(p) * Tile::kOutputs + c]);
      }
      const typename C::V w = C::join(rows);
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) sum[r][p] = C::fma(w, x[r], sum[r][p]);
    }
  };
  uint32_t i = 0;
  for (; i + 8 <= tile.width; i += 8) {
    if (i % kBlock == 0) ahead.advance(1);
    add([&](const auto* row) FACET_CPU_LAMBDA { return L::load(row + i); });
  }
  const uint32_t left = tile.width - i;
  if (left > 0) add([&](const auto* row) FACET_CPU_LAMBDA { return L::load_first(row + i, left); });
  const uint32_t count = tile.outputs - first < kOutputs ? tile.outputs - first : kOutputs;
  for (int r = 0; r < R; ++r) {
    float lanes[kOutputs * 8];
    FACET_CPU_UNROLL for (int p = 0; p < P; ++p) C::store(lanes + p * int{C::kCount}, sum[r][p]);
    reduce_outputs<L>(lanes, count, tile.out + static_cast<size_t>(r) * tile.out_stride + first);
  }
}

template <typename L, typename T, int R>
inline void matmul_few(const MatmulTile& tile) {
  constexpr uint32_t kOutputs = FloatTile<L>::kVectors * FloatTile<L>::kOutputs;
  Ahead ahead(tile, kOutputs, (tile.width + kBlock - 1) / kBlock, 8 * kBlock * sizeof(T));
  for (uint32_t first = 0; first < tile.outputs; first += kOutputs) multiply_few<L, T, R>(tile, first, ahead);
}

// Elements [begin, begin + count) of a panel's outputs.
template <typename L, typename T>
inline void widen(const WeightRows<T, kPanelOutputs>& weights, uint32_t begin, uint32_t count, float* panel) {
  for (uint32_t c = 0; c < kPanelOutputs; ++c) {
    const T* row = weights.rows[c] + begin;
    float* out = panel + 8 * c;
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8) L::store(out + i * kPanelOutputs, L::load(row + i));
    if (i < count) L::store(out + i * kPanelOutputs, L::load_first(row + i, count - i));
  }
}

// sums [R, kPanelOutputs, 8] of R rows, brought forward by `count` elements of a panel.
template <typename L, int R>
inline void multiply_panel(const float* panel, uint32_t count, const std::byte* acts, size_t stride,
                           float* sums) {
  using Tile = FloatTile<L>;
  using C = typename L::Columns;
  constexpr int P = Tile::kVectors;
  constexpr uint32_t kFloats = kPanelOutputs * 8;
  for (uint32_t at = 0; at < kFloats; at += P * C::kCount) {
    typename C::V sum[R][P];
    FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
      FACET_CPU_UNROLL for (int p = 0; p < P; ++p) {
        sum[r][p] =
            C::load(sums + static_cast<uint32_t>(r) * kFloats + at + static_cast<uint32_t>(p) * C::kCount);
      }
    }
    auto add = [&](const float* w, const auto& load) FACET_CPU_LAMBDA {
      typename C::V x[R];
      FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
        x[r] = C::repeat(load(reinterpret_cast<const float*>(acts + static_cast<size_t>(r) * stride)));
      }
      FACET_CPU_UNROLL for (int p = 0; p < P; ++p) {
        const typename C::V wide = C::load(w + static_cast<uint32_t>(p) * C::kCount);
        FACET_CPU_UNROLL for (int r = 0; r < R; ++r) sum[r][p] = C::fma(wide, x[r], sum[r][p]);
      }
    };
    uint32_t i = 0;
    for (; i + 8 <= count; i += 8) {
      add(panel + at + i * kPanelOutputs, [&](const float* x) FACET_CPU_LAMBDA { return L::load(x + i); });
    }
    if (i < count) {
      add(panel + at + i * kPanelOutputs,
          [&](const float* x) FACET_CPU_LAMBDA { return L::load_first(x + i, count - i); });
    }
    FACET_CPU_UNROLL for (int r = 0; r < R; ++r) {
      FACET_CPU_UNROLL for (int p = 0; p < P; ++p) {
        C::store(sums + static_cast<uint32_t>(r) * kFloats + at + static_cast<uint32_t>(p) * C::kCount,
                 sum[r][p]);
      }
    }
  }
}

template <typename L, typename T>
inline void matmul_many(const MatmulTile& tile) {
  constexpr uint32_t kFloats = kPanelOutputs * 8;
  constexpr int kRows = FloatTile<L>::kRows;
  auto* panel = reinterpret_cast<float*>(tile.scratch);
  auto* sums = reinterpret_cast<float*>(tile.scratch + kPanelBytes);
  for (uint32_t first = 0; first < tile.outputs; first += kPanelOutputs) {
    const WeightRows<T, kPanelOutputs> weights(tile, first);
    std::memset(sums, 0, tile.rows * kLaneBytes);
    for (uint32_t begin = 0; begin < tile.width; begin += kPanelWidth) {
      const uint32_t count = tile.width - begin < kPanelWidth ? tile.width - begin : kPanelWidth;
      widen<L>(weights, begin, count, panel);
      const std::byte* acts = tile.acts + begin * sizeof(float);
      uint32_t r = 0;
      auto multiply = [&](auto many) {
        constexpr int R = decltype(many)::value;
        multiply_panel<L, R>(panel, count, acts + r * tile.act_stride, tile.act_stride, sums + r * kFloats);
        r += R;
      };
      while (r + kRows <= tile.rows) multiply(std::integral_constant<int, kRows>());
      if (kRows > 4 && r + 4 <= tile.rows) multiply(std::integral_constant<int, 4>());
      if (r + 2 <= tile.rows) multiply(std::integral_constant<int, 2>());
      if (r < tile.rows) multiply(std::integral_constant<int, 1>());
    }
    const uint32_t count = tile.outputs - first < kPanelOutputs ? tile.outputs - first : kPanelOutputs;
    for (uint32_t r = 0; r < tile.rows; ++r) {
      reduce_outputs<L>(sums + r * kFloats, count, tile.out + r * tile.out_stride + first);
    }
  }
}

template <typename L, typename T>
inline void matmul_of(const MatmulTile& tile) {
  constexpr uint32_t kFew = FloatTile<L>::kFewRows;
  if (tile.rows == 1) return matmul_few<L, T, 1>(tile);
  if (tile.rows == 2) return matmul_few<L, T, 2>(tile);
  if (tile.rows == 3) return matmul_few<L, T, 3>(tile);
  if constexpr (kFew >= 4) {
    if (tile.rows == 4) return matmul_few<L, T, 4>(tile);
  }
  matmul_many<L, T>(tile);
}

template <typename L>
inline void matmul_float(const MatmulTile& tile) {
  switch (tile.type) {
    case FACET_TYPE_F32:
      return matmul_of<L, float>(tile);
    case FACET_TYPE_F16:
      return matmul_of<L, uint16_t>(tile);
    case FACET_TYPE_BF16:
      return matmul_of<L, Brain>(tile);
  }
}

}  // namespace
}  // namespace facet::cpu
