// What runs of a model cost on its device, learned from those that were done.
//
// Runs of 2^b rows and fewer, down to more than half as many, are of one *size*. What was measured of a size
// is *forgotten* bit by bit: it counts for half after kHalfLife, for a quarter after twice that, until the
// size is measured again. So a spell in which the machine was slow rules no size out for ever.
//
// Pure: time is what `now` says.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "daemon/base/clock.h"

namespace facet::engine {

class RunCosts {
 public:
  static constexpr Micros kHalfLife = 30'000'000;

  // So many cuts of a run with so many rows, at least one of each, took so long.
  void slice(uint32_t rows, uint32_t cuts, Micros took);
  // All cuts of a run did.
  void run(uint32_t rows, Micros took, Micros now);

  // Microseconds of a cut as it was last; 0: not known.
  double cut_micros(uint32_t rows) const { return cuts_[size_of(rows)]; }
  // How many cuts of a run with so many rows take no longer than `most`; at least 1, and 1 if nothing is
  // known.
  uint32_t cuts_within(Micros most, uint32_t rows) const;
  // The most rows, a power of two, of runs that took no longer than `most`; or twice as many, where what they
  // took is forgotten so far, or they were never tried and half as many took no longer than half of it. 2^16
  // if nothing is known.
  uint32_t rows_within(Micros most, Micros now) const;
  // What a run of that size took; 0: nothing is known, or it was longer ago than kHalfLife.
  double last_micros(uint32_t rows, Micros now) const;
  // What a run of so many rows takes at least, by runs with as many or fewer, as far as it is not forgotten.
  double run_micros(uint32_t rows, Micros now) const;

 private:
  static constexpr size_t kSizes = 17;
  struct Measure {
    double micros = 0;  // 0: not known
    Micros at = 0;

    bool known() const { return micros != 0; }
    // Of what was measured; the part that counts.
    double remembered(Micros now) const;
  };
  static size_t size_of(uint32_t rows);

  std::array<double, kSizes> cuts_{};
  std::array<Measure, kSizes> runs_{};
};

}  // namespace facet::engine
