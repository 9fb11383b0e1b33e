// Built for AVX-512 F and DQ on x86-64: reached only where the processor has both.
#include "daemon/sampling/row_loops.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#include <immintrin.h>
#endif

namespace facet::sampling {

#if defined(__AVX512F__) && defined(__AVX512DQ__)

namespace {

struct Avx512Ops {
  using Floats = float __attribute__((vector_size(64)));
  using Ints = int32_t __attribute__((vector_size(64)));
  static constexpr uint32_t kLanes = 16;

  // Not _mm512_max_ps and the like: g++ 12 warns of the undefined vector inside of them (its bug 105593).
  static Floats max(Floats a, Floats b) { return a > b ? a : b; }
  static Floats fma(Floats a, Floats b, Floats c) { return Floats(_mm512_fmadd_ps(a, b, c)); }
  static Floats folded(Floats a) {
    return a + __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  }
  static float largest(Floats a) {
    a = max(a, __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    a = max(a, __builtin_shufflevector(a, a, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3));
    a = max(a, __builtin_shufflevector(a, a, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1));
    return a[0] > a[1] ? a[0] : a[1];
  }
};

constexpr RowKernels kAvx512 = RowLoops<Avx512Ops>::kernels();

}  // namespace

const RowKernels* avx512_row_kernels() {
  return &kAvx512;
}

#else

const RowKernels* avx512_row_kernels() {
  return nullptr;
}

#endif

}  // namespace facet::sampling
