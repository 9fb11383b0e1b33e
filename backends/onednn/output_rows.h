// The weights of some outputs side by side: where each output's row of blocks lies, in the file's layout or
// packed (packing.h).
//
// Sixteen addresses would take all registers of the CPU. x86 adds up to eight times a register to another in
// a load, so two addresses and four strides make all sixteen.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/onednn/kernels.h"
#include "backends/onednn/packing.h"

#if defined(__clang__)
#define FACET_CPU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define FACET_CPU_UNROLL _Pragma("GCC unroll 16")
#endif
#define FACET_CPU_LAMBDA __attribute__((always_inline))

namespace facet::cpu {
namespace {

class OutputRows {
 public:
  // Output r begins at first + r * stride, r below 16.
  FACET_CPU_INLINE OutputRows(const uint8_t* first, size_t stride)
      : first_(first),
        ninth_(first + 8 * stride),
        one_(stride),
        three_(3 * stride),
        five_(5 * stride),
        seven_(7 * stride) {
    // The compiler is not to know how they hang together, or it makes sixteen of them again.
    asm("" : "+r"(ninth_), "+r"(three_), "+r"(five_), "+r"(seven_));
  }

  FACET_CPU_INLINE const uint8_t* row(size_t r) const {
    const uint8_t* from = r < 8 ? first_ : ninth_;
    switch (r % 8) {
      case 0:
        return from;
      case 3:
        return from + three_;
      case 5:
        return from + five_;
      case 6:
        return from + 2 * three_;
      case 7:
        return from + seven_;
      default:
        return from + r % 8 * one_;
    }
  }

  template <typename T>
  FACET_CPU_INLINE T field(size_t r, size_t offset) const {
    T value;
    std::memcpy(&value, row(r) + offset, sizeof value);
    return value;
  }

 private:
  const uint8_t *first_, *ninth_;
  size_t one_, three_, five_, seven_;
};

class PackedRows {
 public:
  // The outputs from `output` on of a group that begins at `group`.
  FACET_CPU_INLINE PackedRows(const uint8_t* group, uint32_t output) : group_(group), output_(output) {}

  // The field of type T at `offset` of the blocks, of all outputs.
  template <typename T>
  FACET_CPU_INLINE const T* fields(size_t offset) const {
    return reinterpret_cast<const T*>(group_ + kPackedOutputs * offset) + output_;
  }
  template <typename T>
  FACET_CPU_INLINE T field(size_t r, size_t offset) const {
    return fields<T>(offset)[r];
  }

 private:
  const uint8_t* group_;
  size_t output_;
};

}  // namespace
}  // namespace facet::cpu
