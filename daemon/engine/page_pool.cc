#include "daemon/engine/page_pool.h"

#include <cassert>

namespace facet::engine {

PagePool::PagePool(uint32_t pages) : states_(pages) {
  // Taken from the back: the lowest numbers first, so that a short load touches little memory.
  for (uint32_t page = pages; page > 0; --page) free_.push_back(page - 1);
}

uint32_t PagePool::take() {
  assert(!free_.empty());
  const uint32_t page = free_.back();
  free_.pop_back();
  states_[page].holders = 1;
  return page;
}

void PagePool::hold(uint32_t page) {
  State& state = states_[page];
  if (state.holders++ > 0) return;
  assert(state.keepers > 0);
  --kept_;
}

void PagePool::let_go(uint32_t page) {
  State& state = states_[page];
  assert(state.holders > 0);
  if (--state.holders > 0) return;
  if (state.keepers > 0) {
    ++kept_;
  } else {
    free_.push_back(page);
  }
}

void PagePool::drop(uint32_t page) {
  State& state = states_[page];
  assert(state.keepers > 0);
  if (--state.keepers > 0 || state.holders > 0) return;
  --kept_;
  free_.push_back(page);
}

}  // namespace facet::engine
