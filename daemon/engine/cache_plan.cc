#include "daemon/engine/cache_plan.h"

#include <algorithm>

#include "daemon/engine/pages.h"

namespace facet::engine {

uint64_t page_bytes(const graph::Program& program, uint32_t group, facet_type type) {
  uint64_t elements = 0;  // of one position
  for (const facet_cache_layer& layer : program.cache_layers()) {
    if (layer.group == group)
      elements += uint64_t{layer.kv_heads} * (uint64_t{layer.key_dim} + layer.value_dim);
  }
  return elements * program.cache_groups()[group].page_positions * (type == FACET_TYPE_F32 ? 4 : 2);
}

Result<std::vector<uint32_t>> plan_pages(const graph::Program& program, const std::vector<uint32_t>& windows,
                                         facet_type type, const CacheNeeds& needs) {
  std::vector<uint32_t> pages;
  uint64_t bytes = 0;  // of one sequence of full length
  std::vector<uint32_t> set_aside = needs.set_aside;
  set_aside.resize(windows.size());
  uint64_t set_aside_bytes = 0;
  for (uint32_t group = 0; group < windows.size(); ++group) {
    pages.push_back(pages_needed(windows[group], needs.positions, needs.chunk));
    bytes += pages.back() * page_bytes(program, group, type);
    set_aside_bytes += set_aside[group] * page_bytes(program, group, type);
  }
  const uint64_t budget = needs.budget - std::min(needs.budget, set_aside_bytes);
  const uint64_t sequences = std::min<uint64_t>(needs.sequences, budget / std::max<uint64_t>(bytes, 1));
  if (sequences == 0) {
    return Error{FACET_EXHAUSTED,
                 "a sequence of " + std::to_string(needs.positions) + " tokens needs " +
                     std::to_string(bytes) + " bytes of cache" +
                     (set_aside_bytes == 0 ? "" : " beside " + std::to_string(set_aside_bytes)) +
                     ", the budget is " + std::to_string(needs.budget)};
  }
  for (uint32_t group = 0; group < windows.size(); ++group) {
    pages[group] = static_cast<uint32_t>(pages[group] * sequences) + set_aside[group];
  }
  return pages;
}

}  // namespace facet::engine
