// What a model's cache keeps keys and values in, and how many pages each of its groups gets under a budget of
// bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/graph/program.h"

namespace facet::engine {

// "f32", "f16" and "q8_0": the types of graph::kCacheTypes as settings and reports name them.
std::string cache_type_name(facet_type type);
// invalid_argument, listing the names, if it is none of them.
Result<facet_type> cache_type_of(std::string_view name);

struct CacheNeeds {
  uint32_t positions = 0;  // of the longest sequence
  uint32_t chunk = 0;      // rows that a step adds to a sequence at most
  uint32_t sequences = 0;  // that may run at once
  uint64_t budget = 0;     // bytes for all pages
  // Pages per group beside those of sequences (PagePool); empty: none.
  std::vector<uint32_t> set_aside = {};
};

// Bytes of one page of a group: keys and values of its layers.
uint64_t page_bytes(const graph::Program& program, uint32_t group, facet_type type);

// Pages per group: what is set aside, and enough for `sequences` of full length, or for as many of them as
// the budget holds; shorter ones need less, so more of them run. exhausted, saying how much it takes, if the
// budget is too small for one.
Result<std::vector<uint32_t>> plan_pages(const graph::Program& program, const std::vector<uint32_t>& windows,
                                         facet_type type, const CacheNeeds& needs);

}  // namespace facet::engine
