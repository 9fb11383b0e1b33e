// What was read before and may be read again: the pages of past and present sequences, by their tokens.
//
// A tree for each *key* (an identity: one user's text never speeds up another's). A node stands for one block
// of kPagePositions tokens behind its parent's, and keeps the pages with their keys and values: one per cache
// group, but for groups with a window whose page had been given back. A *prefix* of a sequence can be used
// again at the end of a block if every position that the next row sees has a page: all blocks in groups
// without a window, the last ones in the others. The least recently used leaf is dropped first.
//
// No thread, socket or tensor in here.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "daemon/engine/page_pool.h"
#include "daemon/text/vocabulary.h"

namespace facet::engine {

// Pages of one sequence's first blocks in one group: block first_block + i lies in pages[i].
struct PrefixPages {
  uint32_t first_block = 0;
  std::vector<uint32_t> pages;
};

// A prefix that is kept: so many whole blocks, and per group the pages that a row behind them sees.
struct Prefix {
  uint32_t blocks = 0;
  std::vector<PrefixPages> groups;
};

class PrefixCache {
 public:
  // `windows`: per group, 0 for none. The pools outlive the cache; it drops nothing when destroyed.
  PrefixCache(std::vector<PagePool>& pools, const std::vector<uint32_t>& windows);
  ~PrefixCache();

  // The longest prefix of `tokens` that can be used again and is at most `most` blocks long. Counts as used
  // now.
  Prefix find(uint64_t key, std::span<const text::Token> tokens, uint32_t most);
  // Keeps the pages of the first blocks of `tokens`, of which `held` says what a sequence holds; in groups
  // with a window those that a row behind the last block sees, or behind the one before it. What is kept of
  // them already stays. All blocks that `held` has in a group without a window are whole.
  void keep(uint64_t key, std::span<const text::Token> tokens, uint32_t blocks,
            std::span<const PrefixPages> held);
  // Drops leaves until the group's pool has a free page. It has one that is kept and not held.
  void make_room(uint32_t group);

  size_t blocks() const { return blocks_; }

 private:
  struct Node;
  static constexpr uint32_t kNoPage = UINT32_MAX;
  bool usable(const std::vector<Node*>& chain, uint32_t blocks) const;
  uint32_t first_seen(uint32_t group, uint32_t blocks) const;
  void touch(Node& node);
  void drop_leaf(Node& node);

  std::vector<PagePool>& pools_;
  const std::vector<uint32_t>& windows_;
  std::map<uint64_t, std::unique_ptr<Node>> roots_;
  std::set<std::pair<uint64_t, Node*>> leaves_;  // by last use
  uint64_t uses_ = 0;
  size_t blocks_ = 0;
};

}  // namespace facet::engine
