#include "daemon/engine/pages.h"

#include <algorithm>
#include <cassert>
#include <utility>

namespace facet::engine {
using model::kPagePositions;

PagePools::PagePools(std::span<const uint32_t> pages, std::vector<uint32_t> windows)
    : pools_(pages.begin(), pages.end()), windows_(std::move(windows)), prefixes_(pools_, windows_) {}

uint32_t PagePools::take(uint32_t group) {
  PagePool& pool = pools_[group];
  if (!pool.has_free()) prefixes_.make_room(group);
  return pool.take();
}

uint32_t pages_needed(uint32_t window, uint32_t positions, uint32_t chunk) {
  auto blocks = [](uint64_t n) { return static_cast<uint32_t>((n + kPagePositions - 1) / kPagePositions); };
  uint32_t whole = blocks(positions);
  if (window == 0) return whole;
  // The rows of a step see window + chunk - 1 positions, and up to a block more is kept before them (retire);
  // they may begin anywhere in a block.
  uint64_t visible = uint64_t{window} + chunk - 1 + kPagePositions;
  return std::min(whole, blocks(visible - 1) + 1);
}

SequencePages::SequencePages(PagePools& pools, uint32_t positions, uint32_t chunk, const Prefix& prefix)
    : pools_(&pools), groups_(pools.groups()), reserved_(pools.groups()) {
  for (uint32_t group = 0; group < pools.groups(); ++group) {
    reserved_[group] = pages_needed(pools.window(group), positions, chunk);
    if (reserved_[group] > pools.pool(group).unreserved()) pools_ = nullptr;
  }
  if (pools_ == nullptr) return;
  for (uint32_t group = 0; group < pools.groups(); ++group) pools.pool(group).reserve(reserved_[group]);
  exchange(prefix);
}

SequencePages::SequencePages(SequencePages&& other) noexcept
    : pools_(std::exchange(other.pools_, nullptr)),
      groups_(std::move(other.groups_)),
      reserved_(std::move(other.reserved_)) {}

SequencePages::~SequencePages() {
  if (pools_ == nullptr) return;
  for (uint32_t group = 0; group < groups_.size(); ++group) {
    for (uint32_t page : groups_[group].pages) pools_->pool(group).let_go(page);
    pools_->pool(group).unreserve(reserved_[group]);
  }
}

void SequencePages::exchange(const Prefix& prefix) {
  std::vector<PrefixPages> before(groups_.size());
  before.swap(groups_);
  if (prefix.blocks > 0) groups_ = prefix.groups;
  for (uint32_t group = 0; group < groups_.size(); ++group) {
    assert(groups_[group].pages.size() <= reserved_[group]);
    for (uint32_t page : groups_[group].pages) pools_->pool(group).hold(page);
    for (uint32_t page : before[group].pages) pools_->pool(group).let_go(page);
  }
}

void SequencePages::extend(uint32_t end) {
  const uint32_t blocks = (end + kPagePositions - 1) / kPagePositions;
  for (uint32_t group = 0; group < groups_.size(); ++group) {
    PrefixPages& its = groups_[group];
    while (its.first_block + its.pages.size() < blocks) {
      assert(its.pages.size() < reserved_[group]);
      its.pages.push_back(pools_->take(group));
    }
  }
}

void SequencePages::retire(uint32_t next) {
  if (next > 0) next = (next - 1) / kPagePositions * kPagePositions;
  for (uint32_t group = 0; group < groups_.size(); ++group) {
    const uint32_t window = pools_->window(group);
    if (window == 0 || next + 1 <= window) continue;
    PrefixPages& its = groups_[group];
    const uint32_t first =
        (next + 1 - window) / kPagePositions;  // the block of the oldest position still seen
    while (its.first_block < first && !its.pages.empty()) {
      pools_->pool(group).let_go(its.pages.front());
      its.pages.erase(its.pages.begin());
      ++its.first_block;
    }
  }
}

void SequencePages::keep(uint64_t user, uint64_t key, std::span<const text::Token> tokens,
                         uint32_t positions) const {
  pools_->prefixes().keep(user, key, tokens, positions / kPagePositions, groups_);
}

void SequencePages::keep_shared(std::span<const text::Token> tokens, uint32_t positions) const {
  pools_->prefixes().keep_shared(tokens, positions / kPagePositions, groups_);
}

facet_page_table SequencePages::table(uint32_t group) const {
  const PrefixPages& its = groups_[group];
  return {sizeof(facet_page_table), its.first_block, static_cast<uint32_t>(its.pages.size()),
          its.pages.data()};
}

}  // namespace facet::engine
