#include "daemon/engine/cache_plan.h"

#include <facet/blocks.h>

#include <algorithm>
#include <cctype>

#include "daemon/engine/pages.h"

namespace facet::engine {

std::string cache_type_name(facet_type type) {
  std::string name = facet_type_name(type);
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return name;
}

Result<facet_type> cache_type_of(std::string_view name) {
  std::string names;
  for (const facet_type type : graph::kCacheTypes) {
    if (name == cache_type_name(type)) return type;
    names += (names.empty() ? "" : ", ") + cache_type_name(type);
  }
  return Error{FACET_INVALID_ARGUMENT, "a cache of " + std::string(name) + ": there are " + names};
}

uint64_t page_bytes(const graph::Program& program, uint32_t group, facet_type type) {
  uint64_t bytes = 0;  // of one position
  for (const facet_cache_layer& layer : program.cache_layers()) {
    if (layer.group == group) {
      bytes +=
          layer.kv_heads * (facet_row_bytes(type, layer.key_dim) + facet_row_bytes(type, layer.value_dim));
    }
  }
  return bytes * program.cache_groups()[group].page_positions;
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
