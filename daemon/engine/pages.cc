#include "daemon/engine/pages.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace facet::engine {

using model::kPagePositions;

PagePool::PagePool(uint32_t pages) : pages_(pages) {
  // Taken from the back: the lowest numbers first, so that a short load touches little memory.
  for (uint32_t page = pages; page > 0; --page) free_.push_back(page - 1);
}

bool PagePool::reserve(uint32_t pages) {
  if (pages > unreserved()) return false;
  reserved_ += pages;
  return true;
}

void PagePool::unreserve(uint32_t pages) {
  assert(pages <= reserved_);
  reserved_ -= pages;
}

uint32_t PagePool::take() {
  assert(!free_.empty());
  uint32_t page = free_.back();
  free_.pop_back();
  return page;
}

void PagePool::give_back(uint32_t page) {
  free_.push_back(page);
}

uint32_t pages_needed(uint32_t window, uint32_t positions, uint32_t chunk) {
  auto blocks = [](uint64_t n) { return static_cast<uint32_t>((n + kPagePositions - 1) / kPagePositions); };
  uint32_t whole = blocks(positions);
  if (window == 0) return whole;
  // The rows of a step see window + chunk - 1 positions, which may begin anywhere in a block.
  uint64_t visible = static_cast<uint64_t>(window) + chunk - 1;
  return std::min(whole, blocks(visible - 1) + 1);
}

SequencePages::SequencePages(PagePools& pools, uint32_t positions, uint32_t chunk)
    : pools_(&pools), groups_(pools.pools.size()) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    uint32_t pages = pages_needed(pools.windows[g], positions, chunk);
    if (pools.pools[g].reserve(pages)) {
      groups_[g].reserved = pages;
      continue;
    }
    for (size_t done = 0; done < g; ++done) pools.pools[done].unreserve(groups_[done].reserved);
    pools_ = nullptr;
    return;
  }
}

SequencePages::SequencePages(SequencePages&& other) noexcept
    : pools_(std::exchange(other.pools_, nullptr)), groups_(std::move(other.groups_)) {}

SequencePages::~SequencePages() {
  if (pools_ == nullptr) return;
  for (size_t g = 0; g < groups_.size(); ++g) {
    for (uint32_t page : groups_[g].pages) pools_->pools[g].give_back(page);
    pools_->pools[g].unreserve(groups_[g].reserved);
  }
}

void SequencePages::extend(uint32_t end) {
  uint32_t blocks = (end + kPagePositions - 1) / kPagePositions;
  for (size_t g = 0; g < groups_.size(); ++g) {
    Group& group = groups_[g];
    while (group.first_block + group.pages.size() < blocks) {
      assert(group.pages.size() < group.reserved);
      group.pages.push_back(pools_->pools[g].take());
    }
  }
}

void SequencePages::retire(uint32_t next) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    uint32_t window = pools_->windows[g];
    if (window == 0 || next + 1 <= window) continue;
    Group& group = groups_[g];
    uint32_t first = (next + 1 - window) / kPagePositions;  // the block of the oldest position still seen
    while (group.first_block < first && !group.pages.empty()) {
      pools_->pools[g].give_back(group.pages.front());
      group.pages.erase(group.pages.begin());
      ++group.first_block;
    }
  }
}

facet_page_table SequencePages::table(uint32_t group) const {
  const Group& g = groups_[group];
  return {sizeof(facet_page_table), g.first_block, static_cast<uint32_t>(g.pages.size()), g.pages.data()};
}

}  // namespace facet::engine
