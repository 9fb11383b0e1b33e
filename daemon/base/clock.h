// Time as the daemon measures it: monotonic, in microseconds. Parts that decide by time take a `Micros now`
// argument instead of reading a clock, so that tests and simulations choose it.
#pragma once

#include <chrono>
#include <cstdint>

namespace facet {

using Micros = int64_t;

inline Micros now_micros() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace facet
