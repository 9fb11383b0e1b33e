// A panel: some outputs of a weight taken apart (unpack.h), one after the other in a thread's scratch memory,
// so that all rows of a tile share the work of taking them apart.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include "backends/onednn/kernels.h"

namespace facet::cpu {
namespace {

// Offsets in one output of a panel. Blocks: int8 q [width], float d and m per block, padded with zeros to a
// multiple of 8 blocks. Super-blocks: as the pointers of Super, each for the whole width.
struct PanelRow {
  size_t d = 0, m = 0;
  size_t scales = 0, mins = 0;
  size_t bytes = 0;

  PanelRow(ActKind kind, uint32_t width) {
    if (kind == ActKind::kFloat) {
      bytes = round_up(size_t{width} * sizeof(float), 64);
    } else if (kind == ActKind::kBlocks) {
      size_t padded = round_up(width / kBlock, 8) * sizeof(float);
      d = width;
      m = d + padded;
      bytes = round_up(m + padded, 64);
    } else {
      size_t floats = round_up(width / kSuperBlock * sizeof(float), 32);
      scales = width;
      mins = scales + width;
      d = mins + width / 16 * sizeof(int16_t);
      m = d + floats;
      bytes = round_up(m + floats, 64);
    }
  }

  // Outputs in a panel: what fits in most of a first-level cache, between 4 and 16.
  uint32_t outputs() const {
    size_t fit = 20 * 1024 / bytes / 4 * 4;
    return fit < 4 ? 4 : fit > 16 ? 16 : static_cast<uint32_t>(fit);
  }
};

// Covers rows x outputs with calls dot.run<R, C>(row, output), R rows by C outputs each.
template <int R, int C, typename Dot>
void sweep_outputs(const Dot& dot, uint32_t row, uint32_t outputs) {
  uint32_t c = 0;
  for (; c + C <= outputs; c += C) dot.template run<R, C>(row, c);
  if constexpr (C > 2) {
    for (; c + 2 <= outputs; c += 2) dot.template run<R, 2>(row, c);
  }
  for (; c < outputs; ++c) dot.template run<R, 1>(row, c);
}

template <typename Dot>
void sweep(const Dot& dot, uint32_t rows, uint32_t outputs) {
  uint32_t r = 0;
  for (; r + 4 <= rows; r += 4) sweep_outputs<4, 2>(dot, r, outputs);
  if (rows - r == 3) sweep_outputs<3, 2>(dot, r, outputs);
  if (rows - r == 2) sweep_outputs<2, 2>(dot, r, outputs);
  if (rows - r == 1) sweep_outputs<1, 4>(dot, r, outputs);
}

}  // namespace
}  // namespace facet::cpu
