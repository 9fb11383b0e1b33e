// The few loops over whole rows of logits, for the instruction set at hand.
//
// A *block* is kBlock consecutive logits, a *group* kGroup of them. The *weight* of a logit x is e^((x -
// reference) / temperature) in float: exactly 1 at the reference, never less than 2^-126, with a relative
// error below 2e-7. Every instruction set gives the same bits: each lane computes the same correctly rounded
// additions, multiplications and fused multiply-adds, and lanes add up in one order. Stateless; any thread.
#pragma once

#include <cstdint>

namespace facet::sampling {

inline constexpr uint32_t kGroup = 64;
inline constexpr uint32_t kBlock = 512;
inline constexpr uint32_t kGroupsPerBlock = kBlock / kGroup;

// What a logit weighs. `scale` is log2(e) divided by the temperature. No logit may be above `reference`.
struct Weighing {
  float reference = 0;
  float scale = 0;
};

enum class RowIsa { kPortable, kAvx2, kAvx512 };

struct RowKernels {
  // Writes the largest logit of each group to `group_max`. False if there is a NaN; then the output means
  // nothing.
  bool (*scan)(const float* block, float* group_max);
  // How many logits are at least `floor`.
  uint32_t (*count)(const float* block, float floor);
  // Writes the weights of the logits that are at least `floor`, and 0 for the others.
  void (*weigh)(const float* block, Weighing weighing, float floor, float* weights);
  // The sum of what weigh() would write, without the groups that `group_max`, upper bounds of their logits,
  // shows to have no weight above 2^-60.
  double (*mass)(const float* block, const float* group_max, Weighing weighing, float floor);
};

// The best that this processor runs. The portable kernels are quick only where the compiler's target has a
// fused multiply-add (any 64-bit Arm); on x86 without it (before 2013) they take milliseconds a row.
RowIsa best_row_isa();
// Null if this processor does not run them.
const RowKernels* row_kernels(RowIsa isa);

}  // namespace facet::sampling
