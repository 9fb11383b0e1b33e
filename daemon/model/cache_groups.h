// The cache groups of a program under construction: a group for every window that its layers have, in the
// order in which they ask. Pages of a group are given out and given back together.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "daemon/graph/program.h"
#include "daemon/model/family.h"

namespace facet::model {

class CacheGroups {
 public:
  explicit CacheGroups(graph::Builder& builder) : builder_(builder) {}

  // The group of layers that see `window` positions, 0: all. Made when first asked for.
  graph::CacheGroup of(uint32_t window) {
    for (uint32_t g = 0; g < windows_.size(); ++g) {
      if (windows_[g] == window) return {g};
    }
    windows_.push_back(window);
    return builder_.cache_group(kPagePositions);
  }
  // The window of each group.
  const std::vector<uint32_t>& windows() const { return windows_; }

 private:
  graph::Builder& builder_;
  std::vector<uint32_t> windows_;
};

}  // namespace facet::model
