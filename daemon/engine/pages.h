// The host's side of a paged cache: which page holds which positions of which sequence.
//
// Group     cache layers that keep the same positions: those with one window (0: all positions).
// Page      room for kPagePositions positions of a group's layers, known by its number; the backend owns the
// memory. Block     positions [b * kPagePositions, (b + 1) * kPagePositions) of a sequence; at most one page
// each. Reserve   a promise of pages. A sequence reserves all it can ever need before it starts, so that
// taking one never fails
//           in mid-answer.
// No thread, socket or tensor in here.
#pragma once

#include <facet/backend.h>

#include <cstdint>
#include <vector>

#include "daemon/model/family.h"

namespace facet::engine {

// The pages of one group.
class PagePool {
 public:
  explicit PagePool(uint32_t pages);

  uint32_t pages() const { return pages_; }
  uint32_t free() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t unreserved() const { return pages_ - reserved_; }

  // False, and nothing changes, if fewer than `pages` are unreserved.
  bool reserve(uint32_t pages);
  void unreserve(uint32_t pages);
  // Only out of a reservation of the caller's.
  uint32_t take();
  void give_back(uint32_t page);

 private:
  uint32_t pages_;
  uint32_t reserved_ = 0;
  std::vector<uint32_t> free_;
};

// All groups' pools, and the windows of the groups.
struct PagePools {
  std::vector<PagePool> pools;
  std::vector<uint32_t> windows;
};

// The most pages that a sequence of `positions` holds at once in a group, if a step adds at most `chunk` rows
// to it.
uint32_t pages_needed(uint32_t window, uint32_t positions, uint32_t chunk);

// One sequence's pages in all groups. Gives all of them, and its reservation, back when destroyed.
class SequencePages {
 public:
  // Reserves for `positions` in steps of at most `chunk`. `pools` outlives this object. valid() is false, and
  // nothing is reserved, if the pools have too few now.
  SequencePages(PagePools& pools, uint32_t positions, uint32_t chunk);
  SequencePages(SequencePages&& other) noexcept;
  SequencePages& operator=(SequencePages&&) = delete;
  ~SequencePages();

  bool valid() const { return pools_ != nullptr; }

  // Sees to it that positions [0, end) have pages, but for blocks that retire() let go. Within the
  // reservation.
  void extend(uint32_t end);
  // Gives back the blocks that no row at `next` or later can see.
  void retire(uint32_t next);

  // Valid until the next extend or retire.
  facet_page_table table(uint32_t group) const;

 private:
  struct Group {
    uint32_t reserved = 0;
    uint32_t first_block = 0;
    std::vector<uint32_t> pages;
  };
  PagePools* pools_;
  std::vector<Group> groups_;
};

}  // namespace facet::engine
