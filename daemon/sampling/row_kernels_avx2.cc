// Built for AVX2 and FMA on x86-64: reached only where the processor has both.
#include "daemon/sampling/row_loops.h"

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

namespace facet::sampling {

#if defined(__AVX2__) && defined(__FMA__)

namespace {

struct Avx2Ops {
  using Floats = float __attribute__((vector_size(32)));
  using Ints = int32_t __attribute__((vector_size(32)));
  static constexpr uint32_t kLanes = 8;

  static Floats max(Floats a, Floats b) { return Floats(_mm256_max_ps(a, b)); }
  static Floats fma(Floats a, Floats b, Floats c) { return Floats(_mm256_fmadd_ps(a, b, c)); }
  static float largest(Floats a) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
  }
};

constexpr RowKernels kAvx2 = RowLoops<Avx2Ops>::kernels();

}  // namespace

const RowKernels* avx2_row_kernels() {
  return &kAvx2;
}

#else

const RowKernels* avx2_row_kernels() {
  return nullptr;
}

#endif

}  // namespace facet::sampling
