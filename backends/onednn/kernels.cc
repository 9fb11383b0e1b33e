#include "backends/onednn/kernels.h"

#include "backends/onednn/sets.h"

namespace facet::cpu {

Kernels kernels_of(Isa isa) {
  Kernels kernels = portable_float_kernels();
  kernels.matmul = matmul_portable;
#if defined(__x86_64__)
  if (isa != Isa::kPortable) {
    kernels = avx2_float_kernels();
    kernels.matmul = matmul_avx2;
  }
  if (isa == Isa::kAvxVnni) kernels.matmul = matmul_avxvnni;
  if (isa == Isa::kAvx512Vnni) {
    kernels.matmul = matmul_avx512;
    kernels.attention = attention_avx512;
  }
#elif defined(__aarch64__)
  if (isa != Isa::kPortable) {
    kernels = neon_float_kernels();
    kernels.matmul = isa == Isa::kI8mm ? matmul_i8mm : isa == Isa::kDotprod ? matmul_dotprod : matmul_neon;
  }
#endif
  kernels.isa = isa;
  return kernels;
}

}  // namespace facet::cpu
