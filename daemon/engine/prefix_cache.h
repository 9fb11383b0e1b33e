// What was read before and may be read again: the pages of past and present sequences, by their tokens.
//
// A tree for each *key* (an identity: one user's text never speeds up another's), and one *shared* tree in
// which every key finds: it holds nothing but what the administrator registered. A node stands for one block
// of kPagePositions tokens behind its parent's, and keeps the pages with their keys and values: one per cache
// group, but for groups with a window whose page had been given back. A *prefix* of a sequence can be used
// again at the end of a block if every position that the next row sees has a page: all blocks in groups
// without a window, the last ones in the others.
//
// A key is some *user's*, who may have any number of them. A block is its user's *own* if it keeps a page
// that the shared tree does not keep there; others are only kept in front of own ones. Of the user with the
// most own blocks, in all trees, the least recently used leaf is dropped first: so nobody's prompts, however
// many, take away what others keep, but what is beyond their own part. One of the shared tree is never
// dropped: its pages have to be set aside (PagePool).
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

// The first block that a row behind `blocks` blocks sees.
uint32_t first_seen(uint32_t window, uint32_t blocks);
// The most pages that keep_shared() keeps in a group of so many blocks.
uint32_t shared_pages(uint32_t window, uint32_t blocks);

class PrefixCache {
 public:
  // `windows`: per group, 0 for none. The pools outlive the cache; it drops nothing when destroyed.
  PrefixCache(std::vector<PagePool>& pools, const std::vector<uint32_t>& windows);
  ~PrefixCache();

  // The longest prefix of `tokens` that can be used again and is at most `most` blocks long, read for that
  // key or shared. Counts as used now.
  Prefix find(uint64_t key, std::span<const text::Token> tokens, uint32_t most);
  // Keeps for a user's key the pages of the first blocks of `tokens`, of which `held` says what a sequence
  // holds: up to the last one that is the user's own. A key stays its first user's while it keeps any. In
  // groups with a window those that a row behind the last block sees, or behind the one before it. What is
  // kept of them already stays. All blocks that `held` has in a group without a window are whole.
  void keep(uint64_t user, uint64_t key, std::span<const text::Token> tokens, uint32_t blocks,
            std::span<const PrefixPages> held);
  // The same, for every key and for good. The pools have set aside shared_pages() for it.
  void keep_shared(std::span<const text::Token> tokens, uint32_t blocks, std::span<const PrefixPages> held);
  // Drops leaves until the group's pool has a free page. It has one that is neither held nor set aside.
  void make_room(uint32_t group);

  size_t blocks() const { return blocks_; }

 private:
  struct Node;
  struct User;
  struct Tree;
  static constexpr uint32_t kNoPage = UINT32_MAX;
  // The longest of a tree that can be used again.
  std::vector<Node*> find_in(Tree& tree, std::span<const text::Token> tokens, uint32_t most) const;
  bool usable(const std::vector<Node*>& chain, uint32_t blocks) const;
  // The node of the last block, which has what `held` has of it and those before.
  Node& insert(Tree& tree, std::span<const text::Token> tokens, uint32_t blocks,
               std::span<const PrefixPages> held);
  // The node and those before it were used now.
  void touch(Node& node);
  // And those before it that nothing is behind then, but for own ones.
  void drop_leaf(Node& node);
  // The leaf that is to be dropped first. Some key keeps something.
  void drop_next();
  // Of a tree that changed, whose user is in no rank: gives the user one, or forgets who keeps nothing.
  void rank(Tree& tree);

  std::vector<PagePool>& pools_;
  const std::vector<uint32_t>& windows_;
  // Of nodes, so that those of many keys, which share pages, do not become more and more.
  const uint32_t most_blocks_;
  const std::unique_ptr<User> administrator_;
  const std::unique_ptr<Tree> shared_;
  std::map<uint64_t, std::unique_ptr<User>> users_;  // who keep something
  std::map<uint64_t, std::unique_ptr<Tree>> trees_;  // by key; none is empty
  std::set<std::pair<size_t, uint64_t>> ranks_;      // own blocks of users, and who they are
  uint64_t uses_ = 0;
  size_t blocks_ = 0;
};

}  // namespace facet::engine
