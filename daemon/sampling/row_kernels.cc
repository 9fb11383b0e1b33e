#include "daemon/sampling/row_kernels.h"

#include <bit>

#include "daemon/sampling/row_loops.h"

namespace facet::sampling {

namespace {

// a * b + c rounded once.
[[maybe_unused]] inline float fused(float a, float b, float c) {
#if defined(__FP_FAST_FMAF)
  return __builtin_fmaf(a, b, c);
#else
  // The product is exact in double. The sum is rounded to odd (inexact sums get an odd last bit), after which
  // rounding to float gives what rounding once would have.
  const double product = double(a) * double(b);
  const double sum = product + double(c);
  const double added = sum - product;
  const double error = (product - (sum - added)) + (double(c) - added);
  uint64_t bits = std::bit_cast<uint64_t>(sum);
  if (error != 0 && (bits & 1) == 0) bits += (error > 0) == (sum > 0) ? 1 : -1;
  return float(std::bit_cast<double>(bits));
#endif
}

struct PortableOps {
  using Floats = float __attribute__((vector_size(16)));
  using Ints = int32_t __attribute__((vector_size(16)));
  static constexpr uint32_t kLanes = 4;

  static Floats max(Floats a, Floats b) { return a > b ? a : b; }
  static Floats fma(Floats a, Floats b, Floats c) {
    return Floats{fused(a[0], b[0], c[0]), fused(a[1], b[1], c[1]), fused(a[2], b[2], c[2]),
                  fused(a[3], b[3], c[3])};
  }
  static float largest(Floats a) {
    const float low = a[0] > a[1] ? a[0] : a[1];
    const float high = a[2] > a[3] ? a[2] : a[3];
    return low > high ? low : high;
  }
};

constexpr RowKernels kPortable = RowLoops<PortableOps>::kernels();

}  // namespace

RowIsa best_row_isa() {
  if (row_kernels(RowIsa::kAvx512)) return RowIsa::kAvx512;
  return row_kernels(RowIsa::kAvx2) ? RowIsa::kAvx2 : RowIsa::kPortable;
}

const RowKernels* row_kernels(RowIsa isa) {
  if (isa == RowIsa::kPortable) return &kPortable;
#if defined(__x86_64__)
  if (isa == RowIsa::kAvx2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return avx2_row_kernels();
  }
  if (isa == RowIsa::kAvx512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
    return avx512_row_kernels();
  }
#endif
  return nullptr;
}

}  // namespace facet::sampling
