// The host's side of a paged cache: which page holds which positions of which sequence.
//
// Group     cache layers that keep the same positions: those with one window (0: all positions).
// Page      room for kPagePositions positions of a group's layers, known by its number; the backend owns the
//           memory.
// Block     positions [b * kPagePositions, (b + 1) * kPagePositions) of a sequence; at most one page each.
// No thread, socket or tensor in here.
#pragma once

#include <facet/backend.h>

#include <cstdint>
#include <span>
#include <vector>

#include "daemon/engine/page_pool.h"
#include "daemon/engine/prefix_cache.h"
#include "daemon/model/family.h"

namespace facet::engine {

// All groups' pools, and what is kept in them for sequences to come. Stays where it is.
class PagePools {
 public:
  // Per group: how many pages, and its window.
  PagePools(std::span<const uint32_t> pages, std::vector<uint32_t> windows);
  PagePools(const PagePools&) = delete;

  uint32_t groups() const { return static_cast<uint32_t>(pools_.size()); }
  uint32_t window(uint32_t group) const { return windows_[group]; }
  PagePool& pool(uint32_t group) { return pools_[group]; }
  const PagePool& pool(uint32_t group) const { return pools_[group]; }
  PrefixCache& prefixes() { return prefixes_; }

  // A page out of the caller's reservation, dropping something that is kept if no other is left.
  uint32_t take(uint32_t group);

 private:
  std::vector<PagePool> pools_;
  std::vector<uint32_t> windows_;
  PrefixCache prefixes_;
};

// The most pages that a sequence of `positions` holds at once in a group, if a step adds at most `chunk` rows
// to it.
uint32_t pages_needed(uint32_t window, uint32_t positions, uint32_t chunk);

// One sequence's pages in all groups. Lets go of them, and of its reservation, when destroyed.
class SequencePages {
 public:
  // Reserves for `positions` in steps of at most `chunk`, and holds the pages of a prefix of it that was
  // found just now. `pools` outlives this object. valid() is false, and nothing changed, if the pools have
  // too few pages now.
  SequencePages(PagePools& pools, uint32_t positions, uint32_t chunk, const Prefix& prefix = {});
  SequencePages(SequencePages&& other) noexcept;
  SequencePages& operator=(SequencePages&&) = delete;
  ~SequencePages();

  bool valid() const { return pools_ != nullptr; }
  uint32_t reserved(uint32_t group) const { return reserved_[group]; }

  // Sees to it that positions [0, end) have pages, but for blocks that retire() let go. Within the
  // reservation.
  void extend(uint32_t end);
  // Lets go of the blocks that no row at `next` or later can see, nor one at the last end of a block before
  // it: there another sequence can go on.
  void retire(uint32_t next);
  // Holds the pages of a prefix that was found just now instead of what it holds.
  void exchange(const Prefix& prefix);
  // Keeps the whole blocks of the first `positions` tokens for others of that user's key.
  void keep(uint64_t user, uint64_t key, std::span<const text::Token> tokens, uint32_t positions) const;
  // For everyone (PrefixCache::keep_shared).
  void keep_shared(std::span<const text::Token> tokens, uint32_t positions) const;

  // Valid until the next extend or retire.
  facet_page_table table(uint32_t group) const;

 private:
  PagePools* pools_;
  std::vector<PrefixPages> groups_;  // what it holds
  std::vector<uint32_t> reserved_;
};

}  // namespace facet::engine
