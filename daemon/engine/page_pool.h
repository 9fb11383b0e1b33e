// The pages of one cache group: who holds them, and who may still take some.
//
// Held      a page is held by any number of sequences; one that no sequence holds is free, or *kept*.
// Kept      by the prefix cache for sequences to come, any number of times: it stays as it is until the
//           prefix cache has dropped it as often.
// Reserve   a sequence reserves all pages that it may come to hold at once before it starts, so that taking
//           one never fails in mid-answer. Pages that it shares with others count for each of them: together
//           they never hold more than what is reserved, and what nobody holds can be taken.
// Set aside pages that are kept and never dropped. They are reserved, too: what sequences reserve is there
//           beside them.
// No thread, socket or tensor in here.
#pragma once

#include <cstdint>
#include <vector>

namespace facet::engine {

class PagePool {
 public:
  explicit PagePool(uint32_t pages);

  uint32_t pages() const { return static_cast<uint32_t>(states_.size()); }
  // Held by nobody, kept or not.
  uint32_t unheld() const { return static_cast<uint32_t>(free_.size()) + kept_; }
  uint32_t unreserved() const { return pages() - reserved_; }
  bool has_free() const { return !free_.empty(); }

  void reserve(uint32_t pages) { reserved_ += pages; }  // at most unreserved()
  void unreserve(uint32_t pages) { reserved_ -= pages; }
  // For good; at most unreserved().
  void set_aside(uint32_t pages) {
    reserved_ += pages;
    set_aside_ += pages;
  }
  uint32_t set_aside() const { return set_aside_; }

  // A free page (has_free()), for the caller alone.
  uint32_t take();
  // One more holds a page that is held or kept.
  void hold(uint32_t page);
  // One holds it no longer.
  void let_go(uint32_t page);

  // For the prefix cache: a held page stays when nobody holds it any more, until it was dropped as often as
  // it was kept.
  void keep(uint32_t page) { ++states_[page].keepers; }
  void drop(uint32_t page);

 private:
  struct State {
    uint32_t holders = 0;
    uint32_t keepers = 0;
  };
  std::vector<State> states_;
  std::vector<uint32_t> free_;
  uint32_t kept_ = 0;  // and not held
  uint32_t reserved_ = 0;
  uint32_t set_aside_ = 0;
};

}  // namespace facet::engine
