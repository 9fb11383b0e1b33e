#include "daemon/engine/scheduler.h"

#include <algorithm>

namespace facet::engine {

std::vector<Share> plan_step(std::span<const Candidate> candidates, uint32_t rows, uint32_t chunk) {
  std::vector<Share> shares;
  auto give = [&](bool prompts) {
    for (uint32_t i = 0; i < candidates.size() && rows > 0; ++i) {
      const Candidate& c = candidates[i];
      if (c.paused || c.pending == 0 || (c.pending > 1) != prompts) continue;
      uint32_t share = std::min({c.pending, rows, chunk});
      shares.push_back({i, share});
      rows -= share;
    }
  };
  give(false);
  give(true);
  return shares;
}

}  // namespace facet::engine
