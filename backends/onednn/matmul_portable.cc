// Matmul tiles in plain code: what every vector version is checked against.
#include <array>
#include <cmath>
#include <type_traits>

#include "backends/onednn/panel.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/unpack.h"

namespace facet::cpu {
namespace {

using Lanes = std::array<float, 8>;

float reduce(const Lanes& t) {
  return ((t[0] + t[2]) + (t[1] + t[3])) + ((t[4] + t[6]) + (t[5] + t[7]));
}

template <typename Block>
constexpr uint32_t kBlocksPer = std::is_same_v<Block, facet_block_iq4_xs> ? 8 : 1;

template <typename Block>
void unpack_blocks(const uint8_t* weights, uint32_t width, const PanelRow& layout, std::byte* panel) {
  auto* q = reinterpret_cast<int8_t*>(panel);
  auto* d = reinterpret_cast<float*>(panel + layout.d);
  auto* m = reinterpret_cast<float*>(panel + layout.m);
  std::fill(d, reinterpret_cast<float*>(panel + layout.bytes), 0.0f);
  for (uint32_t b = 0; b < width / kBlock; b += kBlocksPer<Block>) {
    unpack(reinterpret_cast<const Block*>(weights)[b / kBlocksPer<Block>], q + kBlock * b, d + b, m + b);
  }
}

float dot_blocks(const std::byte* panel, const PanelRow& layout, const std::byte* act, const ActRow& row,
                 uint32_t width) {
  auto* q = reinterpret_cast<const int8_t*>(panel);
  auto* d = reinterpret_cast<const float*>(panel + layout.d);
  auto* m = reinterpret_cast<const float*>(panel + layout.m);
  auto* x = reinterpret_cast<const int8_t*>(act);
  auto* dx = reinterpret_cast<const float*>(act + row.scales);
  auto* s = reinterpret_cast<const float*>(act + row.sums);
  Lanes lanes{}, mins{};
  uint32_t blocks = width / kBlock;
  for (uint32_t b = 0; b < blocks; ++b) {
    float scale = d[b] * dx[b];
    for (int j = 0; j < 8; ++j) {
      int sum = 0;
      for (uint32_t i = kBlock * b + 4 * j; i < kBlock * b + 4 * j + 4; ++i) sum += q[i] * x[i];
      lanes[j] = std::fma(scale, static_cast<float>(sum), lanes[j]);
    }
  }
  for (uint32_t b = 0; b < round_up(blocks, 8); ++b) mins[b % 8] = std::fma(m[b], s[b], mins[b % 8]);
  for (int j = 0; j < 8; ++j) lanes[j] += mins[j];
  return reduce(lanes);
}

template <typename Block>
void unpack_super(const uint8_t* weights, uint32_t width, const PanelRow& layout, std::byte* panel) {
  for (uint32_t b = 0; b < width / kSuperBlock; ++b) {
    Super s{reinterpret_cast<uint8_t*>(panel) + kSuperBlock * b,
            reinterpret_cast<int16_t*>(panel + layout.scales) + 128 * b,
            reinterpret_cast<int16_t*>(panel + layout.mins) + 16 * b,
            reinterpret_cast<float*>(panel + layout.d) + b, reinterpret_cast<float*>(panel + layout.m) + b};
    unpack(reinterpret_cast<const Block*>(weights)[b], s);
  }
}

float dot_super(const std::byte* panel, const PanelRow& layout, const std::byte* act, const ActRow& row,
                uint32_t width) {
  auto* q = reinterpret_cast<const uint8_t*>(panel);
  auto* scales = reinterpret_cast<const int16_t*>(panel + layout.scales);
  auto* mins = reinterpret_cast<const int16_t*>(panel + layout.mins);
  auto* d = reinterpret_cast<const float*>(panel + layout.d);
  auto* dmin = reinterpret_cast<const float*>(panel + layout.m);
  auto* x = reinterpret_cast<const int8_t*>(act);
  auto* dx = reinterpret_cast<const float*>(act + row.scales);
  auto* xs = reinterpret_cast<const int16_t*>(act + row.sums);
  Lanes lanes{};
  for (uint32_t b = 0; b < width / kSuperBlock; ++b) {
    float scale = d[b] * dx[b], min_scale = dmin[b] * dx[b];
    for (int j = 0; j < 8; ++j) {
      int sum = 0;
      for (uint32_t g = 8 * b; g < 8 * b + 8; ++g) {
        int part = 0;
        for (uint32_t i = kBlock * g + 4 * j; i < kBlock * g + 4 * j + 4; ++i) part += q[i] * x[i];
        sum += scales[16 * g + 2 * j] * part;
      }
      lanes[j] = std::fma(scale, static_cast<float>(sum), lanes[j]);
      uint32_t t = 16 * b + 2 * j;
      int min_sum = mins[t] * xs[t] + mins[t + 1] * xs[t + 1];
      lanes[j] = std::fma(-min_scale, static_cast<float>(min_sum), lanes[j]);
    }
  }
  return reduce(lanes);
}

float dot_floats(const float* w, const float* x, uint32_t width) {
  Lanes lanes{};
  for (uint32_t i = 0; i < round_up(width, 8); ++i) {
    float a = i < width ? w[i] : 0.0f, b = i < width ? x[i] : 0.0f;
    lanes[i % 8] = std::fma(a, b, lanes[i % 8]);
  }
  return reduce(lanes);
}

using Unpack = void (*)(const uint8_t* weights, uint32_t width, const PanelRow& layout, std::byte* panel);

Unpack unpack_of(uint32_t type) {
  switch (type) {
    case FACET_TYPE_Q4_0:
      return unpack_blocks<facet_block_q4_0>;
    case FACET_TYPE_Q4_1:
      return unpack_blocks<facet_block_q4_1>;
    case FACET_TYPE_Q5_0:
      return unpack_blocks<facet_block_q5_0>;
    case FACET_TYPE_Q5_1:
      return unpack_blocks<facet_block_q5_1>;
    case FACET_TYPE_Q8_0:
      return unpack_blocks<facet_block_q8_0>;
    case FACET_TYPE_IQ4_NL:
      return unpack_blocks<facet_block_iq4_nl>;
    case FACET_TYPE_IQ4_XS:
      return unpack_blocks<facet_block_iq4_xs>;
    case FACET_TYPE_Q2_K:
      return unpack_super<facet_block_q2_k>;
    case FACET_TYPE_Q3_K:
      return unpack_super<facet_block_q3_k>;
    case FACET_TYPE_Q4_K:
      return unpack_super<facet_block_q4_k>;
    case FACET_TYPE_Q5_K:
      return unpack_super<facet_block_q5_k>;
    case FACET_TYPE_Q6_K:
      return unpack_super<facet_block_q6_k>;
  }
  return nullptr;
}

}  // namespace

void matmul_portable(const MatmulTile& tile) {
  ActKind kind = act_kind(tile.type);
  PanelRow layout(kind, tile.width);
  ActRow row(kind, tile.width);
  for (uint32_t c = 0; c < tile.outputs; ++c) {
    const uint8_t* weights = tile.weights + c * tile.weight_stride;
    if (kind == ActKind::kFloat) {
      facet_decode_row(tile.type, weights, tile.width, reinterpret_cast<float*>(tile.scratch));
    } else {
      unpack_of(tile.type)(weights, tile.width, layout, tile.scratch);
    }
    for (uint32_t r = 0; r < tile.rows; ++r) {
      const std::byte* act = tile.acts + r * tile.act_stride;
      float& out = tile.out[r * tile.out_stride + c];
      if (kind == ActKind::kFloat) {
        out = dot_floats(reinterpret_cast<const float*>(tile.scratch), reinterpret_cast<const float*>(act),
                         tile.width);
      } else if (kind == ActKind::kBlocks) {
        out = dot_blocks(tile.scratch, layout, act, row, tile.width);
      } else {
        out = dot_super(tile.scratch, layout, act, row, tile.width);
      }
    }
  }
}

size_t matmul_scratch(uint32_t type, uint32_t width) {
  PanelRow layout(act_kind(type), width);
  return layout.bytes * layout.outputs();
}

}  // namespace facet::cpu
