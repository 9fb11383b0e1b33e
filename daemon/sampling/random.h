// Random numbers that depend on where they are drawn and on nothing else.
//
// A counter-based generator has no state: number `draw` of a position under a seed is a function of these
// three, the same on every machine and in every order of calls. This one is Philox4x32 with 10 rounds (Salmon
// et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).
#pragma once

#include <array>
#include <cstdint>

namespace facet::sampling {

inline std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57} * counter[2];
    counter = {uint32_t(b >> 32) ^ counter[1] ^ key[0], uint32_t(b), uint32_t(a >> 32) ^ counter[3] ^ key[1],
               uint32_t(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

// Evenly distributed in [0, 1), with 53 random bits.
inline double uniform(uint64_t seed, uint64_t position, uint32_t draw) {
  const auto words =
      philox({uint32_t(position), uint32_t(position >> 32), draw, 0}, {uint32_t(seed), uint32_t(seed >> 32)});
  return double((uint64_t{words[0]} << 32 | words[1]) >> 11) * 0x1p-53;
}

}  // namespace facet::sampling
