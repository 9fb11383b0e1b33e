// Matmul tiles in plain code: what every vector version is checked against.
#include <algorithm>
#include <array>
#include <cmath>

#include "backends/onednn/float_matmul.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/unpack.h"

namespace facet::cpu {
namespace {

float dot_floats(const float* w, const float* x, uint32_t width) {
  std::array<float, 8> t{};
  for (uint32_t i = 0; i < round_up(width, 8); ++i) {
    float a = i < width ? w[i] : 0.0f, b = i < width ? x[i] : 0.0f;
    t[i % 8] = std::fma(a, b, t[i % 8]);
  }
  return ((t[0] + t[2]) + (t[1] + t[3])) + ((t[4] + t[6]) + (t[5] + t[7]));
}

void matmul_floats(const MatmulTile& tile) {
  for (uint32_t c = 0; c < tile.outputs; ++c) {
    auto* w = reinterpret_cast<float*>(tile.scratch);
    facet_decode_row(tile.type, tile.weights + c * tile.weight_stride, tile.width, w);
    for (uint32_t r = 0; r < tile.rows; ++r) {
      auto* x = reinterpret_cast<const float*>(tile.acts + r * tile.act_stride);
      tile.out[r * tile.out_stride + c] = dot_floats(w, x, tile.width);
    }
  }
}

// The sum for one row, brought forward by one block.
float add_block(float sum, const PlainBlock& block, const PlainFormat& format, const std::byte* act,
                const ActRow& row, uint32_t number) {
  auto* x = reinterpret_cast<const int8_t*>(act) + kBlock * number;
  const float dx = reinterpret_cast<const float*>(act + row.scales)[number];
  const int parts = format.halves ? 2 : 1, size = 32 / parts;
  for (int part = 0; part < parts; ++part) {
    int dot = 0, x_sum = 0;
    for (int i = part * size; i < (part + 1) * size; ++i) {
      dot += block.q[i] * x[i];
      x_sum += x[i];
    }
    sum = std::fma(block.d[part] * dx, static_cast<float>(dot), sum);
    if (format.mins) sum = std::fma(block.m[part], dx * static_cast<float>(x_sum), sum);
  }
  return sum;
}

void matmul_blocks(const MatmulTile& tile) {
  const ActRow row(ActKind::kBlocks, tile.width);
  const PlainFormat format = plain_format(tile.type);
  for (uint32_t c = 0; c < tile.outputs; ++c) {
    float* out = tile.out + c;
    for (uint32_t r = 0; r < tile.rows; ++r) out[r * tile.out_stride] = 0;
    for (uint32_t b = 0; b < tile.width / kBlock; ++b) {
      const PlainBlock block = plain_block(tile.type, tile.weights + c * tile.weight_stride, b);
      for (uint32_t r = 0; r < tile.rows; ++r) {
        float& sum = out[r * tile.out_stride];
        sum = add_block(sum, block, format, tile.acts + r * tile.act_stride, row, b);
      }
    }
  }
}

}  // namespace

void matmul_portable(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) {
    matmul_floats(tile);
  } else {
    matmul_blocks(tile);
  }
}

size_t matmul_scratch(uint32_t type, uint32_t width) {
  if (act_kind(type) == ActKind::kFloat) {
    return std::max(kPanelBytes + kMaxTileRows * kLaneBytes, width * sizeof(float));
  }
  return size_t{kMaxTileRows} * kMostOutputs * sizeof(float);
}

}  // namespace facet::cpu
