// The row kernels and attention in NEON.
#include "backends/onednn/attention_kernel.h"
#include "backends/onednn/float_kernels.h"
#include "backends/onednn/lanes_neon.h"
#include "backends/onednn/sets.h"

namespace facet::cpu {

Kernels neon_float_kernels() {
  using L = NeonLanes;
  Kernels kernels{};
  kernels.attention = attention<L>;
  kernels.quantise = quantise_row<L>;
  kernels.rms_norm = rms_norm<L>;
  kernels.rope = rope<L>;
  kernels.gelu_gated = gelu_gated<L>;
  kernels.add = add<L>;
  kernels.mul = mul<L>;
  kernels.scale = scale<L>;
  kernels.add_scaled = add_scaled<L>;
  kernels.soft_cap = soft_cap<L>;
  kernels.to_half = to_half<L>;
  kernels.to_q8_0 = to_q8_0<L>;
  return kernels;
}

}  // namespace facet::cpu
