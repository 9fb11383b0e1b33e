// What runs of a model cost on its device, learned from those that were done.
//
// Runs of 2^b rows and fewer, down to more than half as many, are of one *size*. The cuts of a run differ in
// what they cost, by a hundred times and more, so each is known by itself: one that was never measured is run
// alone, later they have of what their slice took the part that they had before. What a slice is cut by
// believes at once what took longer than before, and what took less bit by bit; what rows are chosen by is an
// average, so that a slice in which others had the CPU rules nothing out.
//
// What was measured of a size is *forgotten* bit by bit: it counts for half after kHalfLife, for a quarter
// after twice that, until the size is measured again. So a spell in which the machine was slow rules no size
// out for ever.
//
// Pure: time is what `now` says.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/base/clock.h"

namespace facet::engine {

class RunCosts {
 public:
  static constexpr Micros kHalfLife = 30'000'000;
  // Slices that the longest cut of a run may last: it cannot be left in the middle.
  static constexpr Micros kLongestCut = 2;

  // `slice_micros`: that a slice is to last.
  explicit RunCosts(Micros slice_micros) : slice_micros_(slice_micros) {}

  // Cuts [first, end) of a run with so many rows, at least one of each, took so long.
  void slice(uint32_t rows, uint32_t first, uint32_t end, Micros took);
  // All cuts of a run did.
  void run(uint32_t rows, Micros took, Micros now);

  // Microseconds that a slice with cut number `cut` is to count for it; 0: not known.
  double cut_micros(uint32_t rows, uint32_t cut) const;
  // The end of the slice that begins at cut `first`, before `last`: behind one cut at least, and before the
  // next that was never measured.
  uint32_t slice_end(uint32_t rows, uint32_t first, uint32_t last) const;
  // The most rows, a power of two, of runs that took no longer than `most`, and each cut no longer than
  // kLongestCut slices or, about, what the costliest one takes for any rows (it reads a large matrix, say).
  // Or twice as many, where what they took is forgotten so far, or they were never tried and half as many
  // took no longer than half of it. 2^16 if nothing is known.
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
  // Microseconds; 0: not known.
  struct Cut {
    double expected = 0;  // slices are cut by it
    double usual = 0;     // an average
  };
  static size_t size_of(uint32_t rows);
  // Of the cut of that size that usually costs most.
  double costliest(size_t size) const;

  Micros slice_micros_;
  std::array<std::vector<Cut>, kSizes> cuts_;
  std::array<Measure, kSizes> runs_{};
};

}  // namespace facet::engine
