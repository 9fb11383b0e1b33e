#include "daemon/engine/run_costs.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <span>

namespace facet::engine {
namespace {

// The part of an average that stays when the next measure comes; of what is expected of a cut if it took
// less.
constexpr double kKept = 0.8, kExpectedKept = 0.5;
// A cut that takes longer than that many times its average counts as so many: others had the CPU.
constexpr double kMostRatio = 4;
// By which measures of the same differ.
constexpr double kNoise = 1.25;

}  // namespace

size_t RunCosts::size_of(uint32_t rows) {
  return std::min<size_t>(std::bit_width(rows - 1), kSizes - 1);
}

double RunCosts::Measure::remembered(Micros now) const {
  return std::exp2(-static_cast<double>(std::max<Micros>(now - at, 0)) / kHalfLife);
}

void RunCosts::slice(uint32_t rows, uint32_t first, uint32_t end, Micros took) {
  std::vector<Cut>& cuts = cuts_[size_of(rows)];
  if (cuts.size() < end) cuts.resize(end);
  const std::span<Cut> its(cuts.begin() + first, cuts.begin() + end);
  Cut before;
  for (const Cut& cut : its) {
    before.expected += cut.expected;
    before.usual += cut.usual;
  }
  const auto micros = static_cast<double>(std::max<Micros>(took, 1));
  const double ratio = micros / before.expected;
  const double usual = std::min(micros / before.usual, kMostRatio);
  for (Cut& cut : its) {
    if (before.usual == 0) {
      cut.expected = cut.usual = micros / static_cast<double>(its.size());
    } else {
      cut.expected *= ratio > 1 ? ratio : kExpectedKept + (1 - kExpectedKept) * ratio;
      cut.usual *= kKept + (1 - kKept) * usual;
    }
  }
}

void RunCosts::run(uint32_t rows, Micros took, Micros now) {
  Measure& measure = runs_[size_of(rows)];
  const double kept = measure.known() ? kKept * measure.remembered(now) : 0;
  measure.micros = kept * measure.micros + (1 - kept) * static_cast<double>(std::max<Micros>(took, 1));
  measure.at = now;
}

double RunCosts::cut_micros(uint32_t rows, uint32_t cut) const {
  const std::vector<Cut>& cuts = cuts_[size_of(rows)];
  return cut < cuts.size() ? cuts[cut].expected : 0;
}

uint32_t RunCosts::slice_end(uint32_t rows, uint32_t first, uint32_t last) const {
  double left = static_cast<double>(slice_micros_) - cut_micros(rows, first);
  uint32_t end = first + 1;
  if (cut_micros(rows, first) == 0) return end;
  for (; end < last; ++end) {
    const double micros = cut_micros(rows, end);
    left -= micros;
    if (micros == 0 || left < 0) break;
  }
  return end;
}

double RunCosts::costliest(size_t size) const {
  double most = 0;
  for (const Cut& cut : cuts_[size]) most = std::max(most, cut.usual);
  return most;
}

uint32_t RunCosts::rows_within(Micros most, Micros now) const {
  size_t first = kSizes, known = 0;
  double always = std::numeric_limits<double>::infinity();  // what the costliest cut takes for any rows
  for (size_t size = kSizes; size-- > 0;) {
    if (!runs_[size].known()) continue;
    always = std::min(always, costliest(size));
    first = size;
    ++known;
  }
  if (known < 2) always = 0;  // one size alone does not show it
  const double longest_cut = std::max(static_cast<double>(kLongestCut * slice_micros_), kNoise * always);
  const auto fits = [&](double run, double cut) {
    return run <= static_cast<double>(most) && cut <= longest_cut;
  };
  size_t end = first;       // behind the largest that fits
  double run = 0, cut = 0;  // costs of the largest that fits
  for (size_t size = first; size < kSizes; ++size) {
    if (!runs_[size].known() || !fits(runs_[size].micros, costliest(size))) continue;
    end = size + 1;
    run = runs_[size].micros;
    cut = costliest(size);
  }
  // Twice as many rows take at most twice as long, but for what takes as long for any.
  const auto double_rows = [&] {
    run *= 2;
    cut += cut - always;
    return fits(run, cut);
  };
  while (end > first && end < kSizes && !runs_[end].known() && double_rows()) ++end;
  if (end < kSizes && runs_[end].known()) {
    const double part = runs_[end].remembered(now);
    if (fits(runs_[end].micros * part, costliest(end) * part)) ++end;
  }
  return end == 0 ? 1 : 1u << (end - 1);
}

double RunCosts::last_micros(uint32_t rows, Micros now) const {
  const Measure& measure = runs_[size_of(rows)];
  return measure.known() && now - measure.at < kHalfLife ? measure.micros : 0;
}

double RunCosts::run_micros(uint32_t rows, Micros now) const {
  for (size_t size = size_of(rows) + 1; size-- > 0;) {
    const Measure& measure = runs_[size];
    if (!measure.known()) continue;
    return measure.micros * measure.remembered(now) * std::min(1.0, rows / std::exp2(size));
  }
  return 0;
}

}  // namespace facet::engine
