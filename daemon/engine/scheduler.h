// The scheduler: which sequences take part in the next step, and with how many rows.
//
// Pure: no clock, thread, socket or tensor. First come, first served: sequences that generate (one pending
// token) all take part, so that the weights are read once for all of them; what room is left goes to the
// prompts, oldest first.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace facet::engine {

// A running sequence, as the scheduler sees it.
struct Candidate {
  uint32_t pending;  // tokens that are not in the cache yet
  bool paused;       // no credit
};

struct Share {
  uint32_t candidate;  // index
  uint32_t rows;       // at least 1
};

// Candidates in order of arrival. At most `rows` in all and `chunk` of one candidate.
std::vector<Share> plan_step(std::span<const Candidate> candidates, uint32_t rows, uint32_t chunk);

}  // namespace facet::engine
