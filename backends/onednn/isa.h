// Which instructions the kernels use.
//
//   Isa   a level of vector instructions. All levels compute the same bits; they differ in speed alone.
//
// A level is chosen when a device is opened: the best that the CPU has, or the one that FACET_ISA names:
// portable, on x86-64 avx2, avxvnni and avx512vnni, on aarch64 neon (any CPU), dotprod and i8mm.
#pragma once

#include <string>

namespace facet::cpu {

enum class Isa { kPortable, kAvx2, kAvxVnni, kAvx512Vnni, kNeon, kDotprod, kI8mm };

// The best first.
constexpr Isa kIsas[] = {Isa::kAvx512Vnni, Isa::kAvxVnni, Isa::kAvx2,    Isa::kI8mm,
                         Isa::kDotprod,    Isa::kNeon,    Isa::kPortable};

const char* isa_name(Isa isa);

// Whether this CPU and this operating system run its instructions, and this build has code for it.
bool isa_available(Isa isa);

// `wanted` is the value of FACET_ISA, or NULL. Throws plugin::Failure (INVALID_ARGUMENT for an unknown name,
// UNSUPPORTED for what the CPU lacks).
Isa choose_isa(const char* wanted);

// Whether this CPU reads memory that is used in its order faster by itself than when it is asked to:
// AMD's do. A Sapphire Rapids is slower by itself (`onednn_bench --benchmark_filter=packed/1/` shows the
// rate).
bool reads_ahead_best_alone();

// "AMD EPYC 7763 64-Core Processor", or the architecture's name where the CPU does not say.
std::string cpu_name();

}  // namespace facet::cpu
