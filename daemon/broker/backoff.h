// How long to wait before the engine is started again: doubled after each start that came to nothing, short
// again after one that held.
#pragma once

#include <algorithm>

#include "daemon/base/clock.h"

namespace facet::broker {

class Backoff {
 public:
  static constexpr Micros kFirst = 100'000;
  static constexpr Micros kMost = 10'000'000;
  // An engine that worked so long was well.
  static constexpr Micros kHeld = 10'000'000;

  // The wait after an engine that worked for `worked`; 0 if it never got so far.
  Micros next(Micros worked) {
    if (worked >= kHeld) wait_ = kFirst;
    const Micros wait = wait_;
    wait_ = std::min(2 * wait_, kMost);
    return wait;
  }

 private:
  Micros wait_ = kFirst;
};

}  // namespace facet::broker
