#include "daemon/engine/prefix_cache.h"

#include <algorithm>
#include <cassert>
#include <iterator>

#include "daemon/model/family.h"

namespace facet::engine {

using model::kPagePositions;
using Block = std::vector<text::Token>;

struct PrefixCache::Node {
  Tree* tree = nullptr;
  Node* parent = nullptr;  // nullptr: a root, which stands for no block
  std::map<Block, std::unique_ptr<Node>> children;
  const Block* tokens = nullptr;  // the parent's key for it
  std::vector<uint32_t> pages;    // per group, kNoPage where it has none
  bool own = false;               // every leaf is
  uint64_t used = 0;
};

struct PrefixCache::User {
  uint64_t id = 0;
  std::set<std::pair<uint64_t, Node*>> leaves = {};  // of all trees, by last use
  size_t own = 0;                                    // blocks
};

struct PrefixCache::Tree {
  Tree(uint64_t its_key, User& its_user) : key(its_key), user(its_user) { root.tree = this; }
  const uint64_t key;
  User& user;
  Node root;
};

namespace {

Block block_of(std::span<const text::Token> tokens, uint32_t block) {
  const auto part = tokens.subspan(size_t{block} * kPagePositions, kPagePositions);
  return {part.begin(), part.end()};
}

uint32_t most_pages(const std::vector<PagePool>& pools) {
  uint32_t most = 0;
  for (const PagePool& pool : pools) most = std::max(most, pool.pages());
  return most;
}

}  // namespace

uint32_t first_seen(uint32_t window, uint32_t blocks) {
  const uint64_t position = uint64_t{blocks} * kPagePositions;
  return window == 0 || position + 1 <= window
             ? 0
             : static_cast<uint32_t>((position + 1 - window) / kPagePositions);
}

uint32_t shared_pages(uint32_t window, uint32_t blocks) {
  return blocks == 0 ? 0 : blocks - first_seen(window, blocks - 1);
}

PrefixCache::PrefixCache(std::vector<PagePool>& pools, const std::vector<uint32_t>& windows)
    : pools_(pools),
      windows_(windows),
      most_blocks_(most_pages(pools)),
      administrator_(std::make_unique<User>()),
      shared_(std::make_unique<Tree>(0, *administrator_)) {}

PrefixCache::~PrefixCache() {
  // Leaf by leaf: a deep tree would not survive recursion.
  while (!trees_.empty()) drop_next();
  while (!administrator_->leaves.empty()) drop_leaf(*administrator_->leaves.begin()->second);
}

Prefix PrefixCache::find(uint64_t key, std::span<const text::Token> tokens, uint32_t most) {
  Prefix prefix;
  prefix.groups.resize(windows_.size());
  std::vector<Node*> chain = find_in(*shared_, tokens, most);
  if (auto tree = trees_.find(key); tree != trees_.end()) {
    std::vector<Node*> own = find_in(*tree->second, tokens, most);
    if (own.size() > chain.size()) {
      chain = std::move(own);
      touch(*chain.back());
    }
  }
  if (chain.empty()) return prefix;
  prefix.blocks = static_cast<uint32_t>(chain.size());
  for (uint32_t group = 0; group < windows_.size(); ++group) {
    PrefixPages& its = prefix.groups[group];
    its.first_block = first_seen(windows_[group], prefix.blocks);
    for (uint32_t b = its.first_block; b < prefix.blocks; ++b) its.pages.push_back(chain[b]->pages[group]);
  }
  return prefix;
}

std::vector<PrefixCache::Node*> PrefixCache::find_in(Tree& tree, std::span<const text::Token> tokens,
                                                     uint32_t most) const {
  std::vector<Node*> chain;
  for (Node* node = &tree.root; chain.size() < most; chain.push_back(node)) {
    if ((chain.size() + 1) * kPagePositions > tokens.size()) break;
    auto child = node->children.find(block_of(tokens, static_cast<uint32_t>(chain.size())));
    if (child == node->children.end()) break;
    node = child->second.get();
  }
  while (!chain.empty() && !usable(chain, static_cast<uint32_t>(chain.size()))) chain.pop_back();
  return chain;
}

void PrefixCache::keep(uint64_t user, uint64_t key, std::span<const text::Token> tokens, uint32_t blocks,
                       std::span<const PrefixPages> held) {
  if (blocks == 0) return;
  auto& tree = trees_[key];
  if (!tree) {
    auto& its = users_[user];
    if (!its) its = std::make_unique<User>(User{user});
    tree = std::make_unique<Tree>(key, *its);
  }
  ranks_.erase({tree->user.own, tree->user.id});
  Node& last = insert(*tree, tokens, blocks, held);
  touch(last);
  if (last.children.empty() && !last.own) drop_leaf(last);
  rank(*tree);
  while (blocks_ > most_blocks_ && !trees_.empty()) drop_next();
}

void PrefixCache::keep_shared(std::span<const text::Token> tokens, uint32_t blocks,
                              std::span<const PrefixPages> held) {
  if (blocks > 0) insert(*shared_, tokens, blocks, held);
}

PrefixCache::Node& PrefixCache::insert(Tree& tree, std::span<const text::Token> tokens, uint32_t blocks,
                                       std::span<const PrefixPages> held) {
  Node* node = &tree.root;
  const Node* shared = &tree == shared_.get() ? nullptr : &shared_->root;  // where it is in that one
  for (uint32_t b = 0; b < blocks; ++b) {
    auto [place, made] = node->children.try_emplace(block_of(tokens, b));
    if (shared != nullptr) {
      const auto there = shared->children.find(place->first);
      shared = there == shared->children.end() ? nullptr : there->second.get();
    }
    if (made) {
      place->second = std::make_unique<Node>();
      place->second->tree = &tree;
      place->second->parent = node;
      place->second->tokens = &place->first;
      place->second->pages.assign(windows_.size(), kNoPage);
      tree.user.leaves.erase({node->used, node});
      tree.user.leaves.insert({0, place->second.get()});
      ++blocks_;
    }
    node = place->second.get();
    for (uint32_t group = 0; group < windows_.size(); ++group) {
      const PrefixPages& its = held[group];
      if (node->pages[group] != kNoPage || b < first_seen(windows_[group], blocks - 1)) continue;
      if (b < its.first_block || b - its.first_block >= its.pages.size()) continue;
      node->pages[group] = its.pages[b - its.first_block];
      pools_[group].keep(node->pages[group]);
      if (node->own || (shared != nullptr && shared->pages[group] == node->pages[group])) continue;
      node->own = true;
      ++tree.user.own;
    }
  }
  return *node;
}

void PrefixCache::make_room(uint32_t group) {
  while (!pools_[group].has_free()) {
    assert(!trees_.empty());
    drop_next();
  }
}

bool PrefixCache::usable(const std::vector<Node*>& chain, uint32_t blocks) const {
  for (uint32_t group = 0; group < windows_.size(); ++group) {
    if (windows_[group] == 0) continue;  // all are there (keep), and to look at each would take blocks²
    for (uint32_t b = first_seen(windows_[group], blocks); b < blocks; ++b) {
      if (chain[b]->pages[group] == kNoPage) return false;
    }
  }
  return true;
}

void PrefixCache::touch(Node& node) {
  auto& leaves = node.tree->user.leaves;
  ++uses_;
  for (Node* n = &node; n->parent != nullptr; n = n->parent) {
    const bool leaf = leaves.erase({n->used, n}) > 0;
    n->used = uses_;
    if (leaf) leaves.insert({n->used, n});
  }
}

void PrefixCache::drop_next() {
  const auto most = std::prev(ranks_.end());
  Node& leaf = *users_.at(most->second)->leaves.begin()->second;
  Tree& tree = *leaf.tree;
  ranks_.erase(most);
  drop_leaf(leaf);
  rank(tree);
}

void PrefixCache::rank(Tree& tree) {
  User& user = tree.user;
  if (tree.root.children.empty()) trees_.erase(tree.key);
  if (user.leaves.empty()) {
    users_.erase(user.id);
  } else {
    ranks_.insert({user.own, user.id});
  }
}

void PrefixCache::drop_leaf(Node& leaf) {
  User& user = leaf.tree->user;
  Node* node = &leaf;
  do {
    for (uint32_t group = 0; group < windows_.size(); ++group) {
      if (node->pages[group] != kNoPage) pools_[group].drop(node->pages[group]);
    }
    user.leaves.erase({node->used, node});
    user.own -= node->own;
    --blocks_;
    Node& parent = *node->parent;
    parent.children.erase(parent.children.find(*node->tokens));  // node is gone
    node = &parent;
    if (node->parent == nullptr || !node->children.empty()) return;
  } while (!node->own);
  user.leaves.insert({node->used, node});
}

}  // namespace facet::engine
