// Weights that are asked for before they are read.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include "backends/onednn/kernels.h"
#include "backends/onednn/packing.h"

namespace facet::cpu {
namespace {

// Asks for weights before they are read, evenly, because the CPU waits where it has asked for too many at a
// time. It is for the second-level cache: the first one has no room for a wide of outputs and the next.
//
// Where a wide of outputs is small, in the order of memory and so far ahead that the rows which lie last are
// there in time; else some chunks ahead in the same rows. Packed weights in the order of memory, unless the
// CPU does it better by itself.
class Ahead {
 public:
  // `outputs` are read side by side, in `blocks` blocks of 32, of which 8 have `bytes`.
  Ahead(const MatmulTile& tile, uint32_t outputs, uint32_t blocks, size_t bytes)
      : next_(tile.packed != nullptr ? tile.packed : tile.weights),
        end_(next_ + tile.outputs * tile.weight_stride),
        wide_(outputs * tile.weight_stride),
        row_(tile.weight_stride),
        chunk_(bytes),
        outputs_(outputs),
        small_(tile.packed != nullptr || wide_ <= 24 * 1024),
        step_(small_ ? wide_ / blocks + 1 : outputs) {
    if (tile.packed != nullptr) {
      if (reads_ahead_best_alone()) next_ = end_;
      const size_t all = static_cast<size_t>(end_ - next_);
      if (outputs <= kPackedOutputs) {
        memory(4096);
      } else {
        next_ += wide_ < all ? wide_ : all;
      }
    } else if (small_) {
      memory(wide_ > 16 * 1024 ? wide_ : 16 * 1024);
    } else {
      for (uint32_t chunk = 0; chunk * outputs * bytes < 12 * 1024; ++chunk) rows(outputs);
    }
  }

  // To be called before that many blocks are read.
  FACET_CPU_INLINE void advance(uint32_t blocks) {
    if (small_) {
      memory(step_ * blocks);
    } else {
      owed_ += static_cast<uint32_t>(step_) * blocks;
      rows(owed_ / 8);
      owed_ %= 8;
    }
  }

 private:
  FACET_CPU_INLINE void memory(size_t bytes) {
    const uint8_t* stop = bytes < static_cast<size_t>(end_ - next_) ? next_ + bytes : end_;
    for (; next_ < stop; next_ += 64) __builtin_prefetch(next_, 0, 2);
  }

  // A chunk in each of the next rows.
  FACET_CPU_INLINE void rows(uint32_t count) {
    for (; count > 0 && next_ < end_; --count) {
      const uint8_t* line = next_ + output_ * row_ + column_;
      const uint8_t* stop = line + chunk_;
      for (line += (0 - reinterpret_cast<uintptr_t>(line)) % 64; line < stop; line += 64) {
        __builtin_prefetch(line, 0, 2);
      }
      if (++output_ < outputs_) continue;
      output_ = 0;
      column_ += chunk_;
      if (column_ < row_) continue;
      column_ = 0;
      next_ += wide_;
    }
  }

  const uint8_t *next_, *end_;  // in the order of memory: what comes next; else the wide
  size_t wide_, row_, chunk_, column_ = 0;
  uint32_t outputs_, output_ = 0;
  bool small_;
  size_t step_;        // per block: bytes; else eighths of a row's chunk
  uint32_t owed_ = 0;  // of these
};

}  // namespace
}  // namespace facet::cpu
