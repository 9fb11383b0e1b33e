#include "backends/onednn/isa.h"

#include <facet/description.hpp>

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace facet::cpu {

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kNeon:
      return "neon";
    case Isa::kDotprod:
      return "dotprod";
    case Isa::kI8mm:
      return "i8mm";
  }
  return "unknown";
}

#if defined(__x86_64__)
// Not among the names that clang 14 knows.
static bool has_f16c() {
  unsigned eax, ebx, ecx, edx;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

static bool has_avxvnni() {
  unsigned last, eax, ebx, ecx, edx;
  return __get_cpuid_count(7, 0, &last, &ebx, &ecx, &edx) != 0 && last >= 1 &&
         __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1u << 4)) != 0;
}
#endif

bool isa_available(Isa isa) {
  if (isa == Isa::kPortable) return true;
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvxVnni) return avx2 && has_avxvnni();
  return isa == Isa::kAvx512Vnni && avx2 && __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__)
  const bool dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  if (isa == Isa::kI8mm) return dotprod && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
  return isa == Isa::kNeon || (isa == Isa::kDotprod && dotprod);
#else
  return false;
#endif
}

Isa choose_isa(const char* wanted) {
  std::string names;
  for (Isa isa : kIsas) {
    names += std::string(" ") + isa_name(isa);
    if (wanted == nullptr || *wanted == 0) {
      if (isa_available(isa)) return isa;
    } else if (std::strcmp(wanted, isa_name(isa)) == 0) {
      if (isa_available(isa)) return isa;
      throw plugin::Failure(FACET_UNSUPPORTED, std::string("FACET_ISA=") + wanted +
                                                   ": this CPU does not have these instructions");
    }
  }
  plugin::invalid(std::string("FACET_ISA=") + wanted + " is none of" + names);
}

bool reads_ahead_best_alone() {
#if defined(__x86_64__)
  static const bool amd = [] {
    __builtin_cpu_init();
    return __builtin_cpu_is("amd") != 0;
  }();
  return amd;
#else
  return false;
#endif
}

std::string cpu_name() {
  std::string name;
#if defined(__x86_64__)
  if (static_cast<unsigned>(__get_cpuid_max(0x80000000u, nullptr)) >= 0x80000004u) {
    unsigned words[12];
    for (unsigned i = 0; i < 3; ++i) {
      __cpuid(0x80000002u + i, words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    }
    char text[sizeof words + 1] = {};
    std::memcpy(text, words, sizeof words);
    name = text;
  }
  while (!name.empty() && name.back() == ' ') name.pop_back();
  while (!name.empty() && name.front() == ' ') name.erase(0, 1);
  if (name.empty()) name = "x86-64";
#elif defined(__aarch64__)
  name = "aarch64";
#else
  name = "cpu";
#endif
  return name;
}

}  // namespace facet::cpu
