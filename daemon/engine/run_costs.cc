#include "daemon/engine/run_costs.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace facet::engine {
namespace {

// The part of an average that stays when the next measure comes.
constexpr double kSliceKept = 0.9, kRunKept = 0.8;

}  // namespace

size_t RunCosts::size_of(uint32_t rows) {
  return std::min<size_t>(std::bit_width(rows - 1), kSizes - 1);
}

double RunCosts::Measure::remembered(Micros now) const {
  return std::exp2(-static_cast<double>(std::max<Micros>(now - at, 0)) / kHalfLife);
}

void RunCosts::slice(uint32_t rows, uint32_t cuts, Micros took) {
  double& known = cuts_[size_of(rows)];
  const double cut = static_cast<double>(std::max<Micros>(took, 1)) / cuts;
  known = known == 0 ? cut : kSliceKept * known + (1 - kSliceKept) * cut;
}

void RunCosts::run(uint32_t rows, Micros took, Micros now) {
  Measure& measure = runs_[size_of(rows)];
  const double kept = measure.known() ? kRunKept * measure.remembered(now) : 0;
  measure.micros = kept * measure.micros + (1 - kept) * static_cast<double>(std::max<Micros>(took, 1));
  measure.at = now;
}

uint32_t RunCosts::cuts_within(Micros most, uint32_t rows) const {
  const double cut = cut_micros(rows);
  if (cut == 0) return 1;
  return static_cast<uint32_t>(std::clamp(static_cast<double>(most) / cut, 1.0, 1e6));
}

uint32_t RunCosts::rows_within(Micros most, Micros now) const {
  const auto limit = static_cast<double>(most);
  size_t first = 0;  // that is known
  while (first < kSizes && !runs_[first].known()) ++first;
  size_t end = first;  // behind the largest that fits
  double cost = 0;     // of the largest that fits
  for (size_t size = first; size < kSizes; ++size) {
    if (!runs_[size].known() || runs_[size].micros > limit) continue;
    end = size + 1;
    cost = runs_[size].micros;
  }
  for (; end > first && end < kSizes && !runs_[end].known() && 2 * cost <= limit; ++end) cost *= 2;
  if (end < kSizes && runs_[end].known() && runs_[end].micros * runs_[end].remembered(now) <= limit) ++end;
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
