#include "daemon/engine/prefix_cache.h"

#include <algorithm>
#include <cassert>

#include "daemon/model/family.h"

namespace facet::engine {

using model::kPagePositions;
using Block = std::vector<text::Token>;

struct PrefixCache::Node {
  Node* parent = nullptr;  // nullptr: a root, which stands for no block
  uint64_t key = 0;        // of a root
  std::map<Block, std::unique_ptr<Node>> children;
  const Block* tokens = nullptr;  // the parent's key for it
  std::vector<uint32_t> pages;    // per group, kNoPage where it has none
  uint64_t used = 0;
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
    : pools_(pools), windows_(windows), most_blocks_(most_pages(pools)), shared_(std::make_unique<Node>()) {}

PrefixCache::~PrefixCache() {
  while (!leaves_.empty()) drop_leaf(*leaves_.begin()->second);  // a deep tree would not survive recursion
}

Prefix PrefixCache::find(uint64_t key, std::span<const text::Token> tokens, uint32_t most) {
  Prefix prefix;
  prefix.groups.resize(windows_.size());
  std::vector<Node*> chain = find_in(*shared_, tokens, most);
  if (auto root = roots_.find(key); root != roots_.end()) {
    std::vector<Node*> own = find_in(*root->second, tokens, most);
    if (own.size() > chain.size()) {
      chain = std::move(own);
      touch(*chain.back(), ++uses_);
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

std::vector<PrefixCache::Node*> PrefixCache::find_in(Node& root, std::span<const text::Token> tokens,
                                                     uint32_t most) const {
  std::vector<Node*> chain;
  for (Node* node = &root; chain.size() < most; chain.push_back(node)) {
    if ((chain.size() + 1) * kPagePositions > tokens.size()) break;
    auto child = node->children.find(block_of(tokens, static_cast<uint32_t>(chain.size())));
    if (child == node->children.end()) break;
    node = child->second.get();
  }
  while (!chain.empty() && !usable(chain, static_cast<uint32_t>(chain.size()))) chain.pop_back();
  return chain;
}

void PrefixCache::keep(uint64_t key, std::span<const text::Token> tokens, uint32_t blocks,
                       std::span<const PrefixPages> held) {
  if (blocks == 0) return;
  auto& root = roots_[key];
  if (!root) {
    root = std::make_unique<Node>();
    root->key = key;
  }
  touch(insert(*root, tokens, blocks, held), ++uses_);
  while (blocks_ > most_blocks_ && leaves_.begin()->first != kAlways) drop_leaf(*leaves_.begin()->second);
}

void PrefixCache::keep_shared(std::span<const text::Token> tokens, uint32_t blocks,
                              std::span<const PrefixPages> held) {
  if (blocks > 0) touch(insert(*shared_, tokens, blocks, held), kAlways);
}

PrefixCache::Node& PrefixCache::insert(Node& root, std::span<const text::Token> tokens, uint32_t blocks,
                                       std::span<const PrefixPages> held) {
  Node* node = &root;
  for (uint32_t b = 0; b < blocks; ++b) {
    auto [place, made] = node->children.try_emplace(block_of(tokens, b));
    if (made) {
      place->second = std::make_unique<Node>();
      place->second->parent = node;
      place->second->tokens = &place->first;
      place->second->pages.assign(windows_.size(), kNoPage);
      leaves_.erase({node->used, node});
      leaves_.insert({0, place->second.get()});
      ++blocks_;
    }
    node = place->second.get();
    for (uint32_t group = 0; group < windows_.size(); ++group) {
      const PrefixPages& its = held[group];
      if (node->pages[group] != kNoPage || b < first_seen(windows_[group], blocks - 1)) continue;
      if (b < its.first_block || b - its.first_block >= its.pages.size()) continue;
      node->pages[group] = its.pages[b - its.first_block];
      pools_[group].keep(node->pages[group]);
    }
  }
  return *node;
}

void PrefixCache::make_room(uint32_t group) {
  while (!pools_[group].has_free()) {
    assert(!leaves_.empty() && leaves_.begin()->first != kAlways);
    drop_leaf(*leaves_.begin()->second);
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

// The node and those before it were used now.
void PrefixCache::touch(Node& node, uint64_t now) {
  for (Node* n = &node; n->parent != nullptr; n = n->parent) {
    const bool leaf = leaves_.erase({n->used, n}) > 0;
    n->used = now;
    if (leaf) leaves_.insert({n->used, n});
  }
}

void PrefixCache::drop_leaf(Node& node) {
  for (uint32_t group = 0; group < windows_.size(); ++group) {
    if (node.pages[group] != kNoPage) pools_[group].drop(node.pages[group]);
  }
  leaves_.erase({node.used, &node});
  --blocks_;
  Node& parent = *node.parent;
  parent.children.erase(parent.children.find(*node.tokens));  // node is gone
  if (!parent.children.empty()) return;
  if (parent.parent != nullptr) {
    leaves_.insert({parent.used, &parent});
  } else if (&parent != shared_.get()) {
    roots_.erase(parent.key);
  }
}

}  // namespace facet::engine
