// What must hold when a crowd is served, and the ideal that it is held against.
#pragma once

#include <vector>

#include "tests/sim/simulator.h"
#include "tests/sim/workload.h"

namespace facet::sim {

// Serves a crowd that is all there at time 0, and checks with doctest, printing what it found:
// - While every class has something left, each lower one has its minimum share, within 1% of the device; and
//   never waits longer for it than it takes until its turn comes.
// - Users that have had something waiting all the time have had the same work for their weight: within 5% by
//   the time that a few of them are left, and at any time within one and a half of the longest request, since
//   requests are served whole. So have the apps of the user who asks most.
// - Nobody who has something waiting and nothing running waits longer, by the class's clock, than the ideal
//   device takes for one longest request of theirs, and one of everybody else.
// - Nobody is done later than on the ideal device by more than 5% of the time in which all are served.
void check_crowd(const Settings& settings, const Crowd& crowd);

// The ideal device divides every moment among those that have work left, by weight. When each is done.
struct FluidUser {
  double work;
  double weight;
};
std::vector<double> fluid_finishes(const std::vector<FluidUser>& users);

}  // namespace facet::sim
