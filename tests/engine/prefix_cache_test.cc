#include "daemon/engine/prefix_cache.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <list>
#include <map>
#include <random>
#include <set>

#include "daemon/engine/pages.h"

using facet::engine::PagePools;
using facet::engine::Prefix;
using facet::engine::SequencePages;
using facet::model::kPagePositions;
using facet::text::Token;

namespace {

constexpr uint32_t kPage = kPagePositions;

// Tokens of so many blocks, each block all of one number.
std::vector<Token> tokens_of(const std::vector<Token>& blocks, uint32_t more = 0) {
  std::vector<Token> tokens;
  for (Token block : blocks) tokens.insert(tokens.end(), kPage, block);
  tokens.insert(tokens.end(), more, 99);
  return tokens;
}

// Reads tokens as a sequence would, in steps of a page, and keeps them for `key`.
std::vector<uint32_t> read_and_keep(PagePools& pools, uint64_t key, const std::vector<Token>& tokens) {
  const auto positions = static_cast<uint32_t>(tokens.size());
  SequencePages pages(pools, positions, kPage);
  REQUIRE(pages.valid());
  for (uint32_t done = 0; done < positions; done += kPage) {
    pages.extend(std::min(done + kPage, positions));
    pages.retire(std::min(done + kPage, positions));
  }
  pages.keep(key, tokens, positions);
  const facet_page_table table = pages.table(0);
  return {table.pages, table.pages + table.count};
}

}  // namespace

TEST_CASE("a prefix is found by its tokens, whole blocks of it, for its key alone") {
  PagePools pools(std::vector<uint32_t>{20}, {0});
  const std::vector<uint32_t> pages = read_and_keep(pools, 7, tokens_of({1, 2, 3}, 10));
  CHECK(pools.pool(0).unheld() == 20);
  auto find = [&](uint64_t key, const std::vector<Token>& tokens, uint32_t most = 100) {
    return pools.prefixes().find(key, tokens, most);
  };
  CHECK(find(7, tokens_of({1, 2, 3, 4})).blocks == 3);
  CHECK(find(7, tokens_of({1, 2, 3}, 5)).groups[0].pages ==
        std::vector<uint32_t>(pages.begin(), pages.begin() + 3));
  CHECK(find(7, tokens_of({1, 2, 9})).blocks == 2);
  CHECK(find(7, tokens_of({1, 2, 3}), 2).blocks == 2);
  CHECK(find(7, tokens_of({1}, kPage - 1)).blocks == 1);
  CHECK(find(7, tokens_of({2, 3})).blocks == 0);
  CHECK(find(7, {}).blocks == 0);
  CHECK(find(8, tokens_of({1, 2, 3})).blocks == 0);
}

TEST_CASE("a window's last pages must be there where a prefix is used again") {
  PagePools pools(std::vector<uint32_t>{20, 20}, {0, 2 * kPage});
  const std::vector<Token> tokens = tokens_of({1, 2, 3, 4, 5, 6});
  read_and_keep(pools, 1, tokens);
  const Prefix prefix = pools.prefixes().find(1, tokens_of({1, 2, 3, 4, 5, 6, 7}), 100);
  CHECK(prefix.blocks == 6);
  CHECK(prefix.groups[0].first_block == 0);
  CHECK(prefix.groups[0].pages.size() == 6);
  CHECK(prefix.groups[1].first_block == 4);
  CHECK(prefix.groups[1].pages.size() == 2);
  // In the middle only the group without a window has its pages.
  CHECK(pools.prefixes().find(1, tokens_of({1, 2, 3, 9}), 100).blocks == 0);
  // A shorter sequence that was kept at its end makes that end usable.
  read_and_keep(pools, 1, tokens_of({1, 2, 3}));
  CHECK(pools.prefixes().find(1, tokens_of({1, 2, 3, 9}), 100).blocks == 3);
}

TEST_CASE("what nobody used for longest makes room, leaf by leaf; what is held stays") {
  PagePools pools(std::vector<uint32_t>{6}, {0});
  read_and_keep(pools, 1, tokens_of({1, 2}));
  read_and_keep(pools, 1, tokens_of({1, 3}));
  read_and_keep(pools, 2, tokens_of({5}));
  CHECK(pools.prefixes().blocks() == 4);
  CHECK(pools.prefixes().find(1, tokens_of({1, 2}), 9).blocks == 2);  // {1, 3} is older now
  const Prefix held = pools.prefixes().find(2, tokens_of({5}), 9);
  SequencePages holder(pools, kPage, kPage, held);
  REQUIRE(holder.valid());
  {
    SequencePages other(pools, 3 * kPage, kPage);
    REQUIRE(other.valid());
    other.extend(3 * kPage);
    CHECK(pools.prefixes().find(1, tokens_of({1, 3}), 9).blocks == 1);
    CHECK(pools.prefixes().find(1, tokens_of({1, 2}), 9).blocks == 2);
    SequencePages third(pools, 2 * kPage, kPage);
    REQUIRE(third.valid());
    third.extend(2 * kPage);
    CHECK(pools.prefixes().find(1, tokens_of({1, 2}), 9).blocks == 0);
    std::set<uint32_t> pages;
    for (const SequencePages* one : {&holder, &other, &third}) {
      const facet_page_table table = one->table(0);
      for (uint32_t i = 0; i < table.count; ++i) CHECK(pages.insert(table.pages[i]).second);
    }
    CHECK(pages.size() == 6);
  }
  CHECK(pools.pool(0).unheld() == 5);
}

TEST_CASE("a deep tree goes without trouble") {
  PagePools pools(std::vector<uint32_t>{20000}, {0});
  std::vector<Token> tokens(size_t{20000} * kPage, 3);
  read_and_keep(pools, 1, tokens);
  CHECK(pools.prefixes().blocks() == 20000);
}

// Each page remembers which tokens up to which block it holds; whoever finds a page finds the right ones,
// nobody's page is overwritten, and the reservation is never exceeded (extend asserts it).
TEST_CASE("sequences with shared beginnings come and go") {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const uint32_t window = 1 + random() % 300;
    PagePools pools(std::vector<uint32_t>{40, 30}, {0, window});
    struct Running {
      uint64_t key;
      std::vector<Token> tokens;
      SequencePages pages;
      uint32_t done;
    };
    std::list<Running> running;
    std::map<std::pair<uint32_t, uint32_t>, std::pair<uint64_t, std::vector<Token>>>
        content;  // of (group, page)
    size_t found = 0;
    for (int step = 0; step < 200; ++step) {
      if (random() % 2 == 0) {
        std::vector<Token> blocks(1 + random() % 8);
        for (Token& block : blocks) block = static_cast<Token>(random() % 2);
        const std::vector<Token> tokens = tokens_of(blocks, 1 + random() % kPage);
        const uint64_t key = random() % 2;
        const auto length = static_cast<uint32_t>(tokens.size());
        const Prefix prefix = pools.prefixes().find(key, tokens, (length - 1) / kPage);
        found += prefix.blocks;
        for (uint32_t group = 0; group < 2 && prefix.blocks > 0; ++group) {
          for (uint32_t i = 0; i < prefix.groups[group].pages.size(); ++i) {
            const uint32_t end = (prefix.groups[group].first_block + i + 1) * kPage;
            const auto& [its_key, its_tokens] = content.at({group, prefix.groups[group].pages[i]});
            REQUIRE(its_key == key);
            REQUIRE(its_tokens == std::vector<Token>(tokens.begin(), tokens.begin() + end));
          }
        }
        SequencePages pages(pools, length, 100, prefix);
        if (pages.valid()) running.push_back({key, tokens, std::move(pages), prefix.blocks * kPage});
      }
      for (auto at = running.begin(); at != running.end();) {
        Running& r = *at;
        const auto length = static_cast<uint32_t>(r.tokens.size());
        const uint32_t rows = std::min(1 + static_cast<uint32_t>(random()) % 100, length - r.done);
        r.pages.extend(r.done + rows);
        for (uint32_t group = 0; group < 2; ++group) {
          const facet_page_table table = r.pages.table(group);
          const uint32_t oldest = group == 1 && r.done + 1 > window ? r.done + 1 - window : 0;
          REQUIRE(table.first_block <= oldest / kPage);
          REQUIRE(table.first_block + table.count > (r.done + rows - 1) / kPage);
          for (uint32_t block = r.done / kPage; block <= (r.done + rows - 1) / kPage; ++block) {
            const size_t end = std::min<size_t>(r.tokens.size(), (size_t{block} + 1) * kPage);
            content[{group, table.pages[block - table.first_block]}] = {
                r.key, {r.tokens.begin(), r.tokens.begin() + static_cast<long>(end)}};
          }
        }
        r.done += rows;
        r.pages.retire(r.done);
        if (random() % 3 == 0 || r.done == length) r.pages.keep(r.key, r.tokens, r.done);
        if (r.done == length || random() % 20 == 0) {
          at = running.erase(at);
        } else {
          ++at;
        }
      }
    }
    running.clear();
    CHECK(found > 0);
    for (uint32_t group : {0u, 1u}) {
      CHECK(pools.pool(group).unheld() == pools.pool(group).pages());
      CHECK(pools.pool(group).unreserved() == pools.pool(group).pages());
    }
  }
}
