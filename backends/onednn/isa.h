// Which instructions the kernels use.
//
//   Isa   a level of vector instructions. All levels compute the same bits; they differ in speed alone.
//
// A level is chosen when a device is opened: the best that the CPU has, or the one that FACET_ISA names
// (portable, avx2, avx512vnni).
#pragma once

#include <string>

namespace facet::cpu {

enum class Isa { kPortable, kAvx2, kAvx512Vnni };

const char* isa_name(Isa isa);

// Whether this CPU and this operating system run its instructions, and this build has code for it.
bool isa_available(Isa isa);

// `wanted` is the value of FACET_ISA, or NULL. Throws plugin::Failure (INVALID_ARGUMENT for an unknown name,
// UNSUPPORTED for what the CPU lacks).
Isa choose_isa(const char* wanted);

// "AMD EPYC 7763 64-Core Processor", or "x86-64" where the CPU does not say.
std::string cpu_name();

}  // namespace facet::cpu
