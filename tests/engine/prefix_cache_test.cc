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
using facet::engine::shared_pages;
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

// Reads tokens behind `prefix` as a sequence would, in steps of a page.
SequencePages read(PagePools& pools, const std::vector<Token>& tokens, const Prefix& prefix = {}) {
  const auto positions = static_cast<uint32_t>(tokens.size());
  SequencePages pages(pools, positions, kPage, prefix);
  REQUIRE(pages.valid());
  for (uint32_t done = prefix.blocks * kPage; done < positions; done += kPage) {
    pages.extend(std::min(done + kPage, positions));
    pages.retire(std::min(done + kPage, positions));
  }
  return pages;
}

// And keeps them for `key`, of `user`.
std::vector<uint32_t> read_and_keep(PagePools& pools, uint64_t user, uint64_t key,
                                    const std::vector<Token>& tokens, const Prefix& prefix = {}) {
  const SequencePages pages = read(pools, tokens, prefix);
  pages.keep(user, key, tokens, static_cast<uint32_t>(tokens.size()));
  const facet_page_table table = pages.table(0);
  return {table.pages, table.pages + table.count};
}

// For a key that is its user's only one.
std::vector<uint32_t> read_and_keep(PagePools& pools, uint64_t key, const std::vector<Token>& tokens,
                                    const Prefix& prefix = {}) {
  return read_and_keep(pools, key, key, tokens, prefix);
}

// Behind what is found of them.
void go_on(PagePools& pools, uint64_t key, const std::vector<Token>& tokens) {
  read_and_keep(pools, key, tokens, pools.prefixes().find(key, tokens, 100));
}

// Sets the pages aside that it takes to keep tokens for everyone, and keeps them.
void share(PagePools& pools, const std::vector<Token>& tokens) {
  const auto positions = static_cast<uint32_t>(tokens.size());
  for (uint32_t group = 0; group < pools.groups(); ++group) {
    pools.pool(group).set_aside(shared_pages(pools.window(group), positions / kPage));
  }
  read(pools, tokens).keep_shared(tokens, positions);
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

TEST_CASE("one key's prompts, however many, leave others what they keep") {
  PagePools pools(std::vector<uint32_t>{12}, {0});
  const std::vector<Token> conversation = tokens_of({1, 2, 3});
  read_and_keep(pools, 1, conversation);
  for (Token n = 10; n < 40; n += 2) read_and_keep(pools, 2, tokens_of({n, n + 1}));
  CHECK(pools.prefixes().find(1, tokens_of({1, 2, 3, 4}), 9).blocks == 3);
  CHECK(pools.prefixes().find(2, tokens_of({38, 39, 4}), 9).blocks == 2);
  CHECK(pools.prefixes().find(2, tokens_of({10, 11, 4}), 9).blocks == 0);
  // Who keeps the most loses first, the least recently used of it, until they keep as much.
  for (Token n = 50; n < 58; ++n) read_and_keep(pools, 3, tokens_of({n}));
  CHECK(pools.prefixes().find(1, tokens_of({1, 2, 3, 4}), 9).blocks == 3);
  CHECK(pools.prefixes().find(2, tokens_of({38, 39, 4}), 9).blocks == 2);
  CHECK(pools.prefixes().find(3, tokens_of({57, 4}), 9).blocks == 1);
}

TEST_CASE("a user's prompts, under however many keys, leave others what they keep") {
  PagePools pools(std::vector<uint32_t>{12}, {0});
  read_and_keep(pools, 1, tokens_of({1, 2, 3}));
  for (uint64_t key = 100; key < 130; ++key) read_and_keep(pools, 2, key, tokens_of({5, 6}));
  CHECK(pools.prefixes().find(1, tokens_of({1, 2, 3, 4}), 9).blocks == 3);
  // Of all its keys' the least recently used goes.
  CHECK(pools.prefixes().find(126, tokens_of({5, 6}), 9).blocks == 2);
  read_and_keep(pools, 2, 200, tokens_of({5, 6}));
  CHECK(pools.prefixes().find(126, tokens_of({5, 6}), 9).blocks == 2);
  CHECK(pools.prefixes().find(127, tokens_of({5, 6}), 9).blocks < 2);
}

TEST_CASE("what is shared counts for nobody who goes on behind it") {
  PagePools pools(std::vector<uint32_t>{12}, {0});
  share(pools, tokens_of({1, 2, 3, 4}));
  const std::vector<Token> conversation = tokens_of({1, 2, 3, 4, 5, 6});
  go_on(pools, 7, conversation);
  for (Token n = 10; n < 40; n += 2) read_and_keep(pools, 8, tokens_of({n, n + 1}));
  CHECK(pools.prefixes().find(7, conversation, 9).blocks == 6);
  CHECK(pools.prefixes().find(8, tokens_of({38, 39}), 9).blocks == 2);
}

TEST_CASE("copies of what is shared are kept in front of own blocks alone") {
  PagePools pools(std::vector<uint32_t>{12}, {0});
  share(pools, tokens_of({1, 2, 3}));
  go_on(pools, 7, tokens_of({1, 2, 3}));
  CHECK(pools.prefixes().blocks() == 3);
  go_on(pools, 7, tokens_of({1, 2, 3, 4}));
  CHECK(pools.prefixes().blocks() == 7);
  CHECK(pools.pool(0).unheld() == 12);
  SequencePages all(pools, 9 * kPage, kPage);
  REQUIRE(all.valid());
  all.extend(9 * kPage);
  CHECK(pools.prefixes().blocks() == 3);
}

TEST_CASE("what was read before it was shared is its user's own, and makes room") {
  PagePools pools(std::vector<uint32_t>{8}, {0});
  const std::vector<Token> tokens = tokens_of({1, 2});
  read_and_keep(pools, 7, tokens);
  share(pools, tokens);
  CHECK(pools.prefixes().blocks() == 4);
  SequencePages all(pools, 6 * kPage, kPage);
  REQUIRE(all.valid());
  all.extend(6 * kPage);
  CHECK(pools.prefixes().blocks() == 2);
  CHECK(pools.prefixes().find(7, tokens, 9).blocks == 2);
}

TEST_CASE("there is room beside what is shared, while it is read or not and nothing else is kept") {
  for (const bool held : {false, true}) {
    PagePools pools(std::vector<uint32_t>{7}, {0});
    const std::vector<Token> shared = tokens_of({1, 2});
    share(pools, shared);
    go_on(pools, 8, shared);  // which keeps nothing more
    const uint32_t others = held ? 3 : 5;
    const SequencePages reader(pools, held ? 2 * kPage : 0, kPage,
                               pools.prefixes().find(7, shared, held ? 2 : 0));
    REQUIRE(reader.valid());
    SequencePages all(pools, others * kPage, kPage);
    REQUIRE(all.valid());
    all.extend(others * kPage);
    CHECK(pools.prefixes().find(8, shared, 9).blocks == 2);
    CHECK(pools.prefixes().blocks() == 2);
    SequencePages none(pools, 1, kPage);
    CHECK_FALSE(none.valid());
  }
}

TEST_CASE("what is shared is found for every key, and a key's own behind it for that one alone") {
  PagePools pools(std::vector<uint32_t>{16, 16}, {0, kPage});
  share(pools, tokens_of({1, 2, 3}));
  CHECK(pools.pool(0).set_aside() == 3);
  CHECK(pools.pool(1).set_aside() == 2);  // what a row behind the last block sees, or behind the one before
  const auto find = [&](uint64_t key, const std::vector<Token>& tokens) {
    return pools.prefixes().find(key, tokens, 100);
  };
  CHECK(find(7, tokens_of({1, 2, 3, 4})).blocks == 3);
  CHECK(find(0, tokens_of({1, 2, 9})).blocks == 2);
  CHECK(find(7, tokens_of({1, 9})).blocks == 0);  // the window's page there is gone
  CHECK(find(7, tokens_of({2, 3})).blocks == 0);

  const std::vector<Token> longer = tokens_of({1, 2, 3, 4, 5});
  const Prefix shared = find(7, longer);
  const std::vector<uint32_t> pages = read_and_keep(pools, 7, longer, shared);
  CHECK(std::equal(shared.groups[0].pages.begin(), shared.groups[0].pages.end(), pages.begin()));
  CHECK(find(7, longer).blocks == 5);
  CHECK(find(8, longer).blocks == 3);
  CHECK(find(8, longer).groups[0].pages == shared.groups[0].pages);
  // What a key read itself is no longer than what is shared: that counts.
  read_and_keep(pools, 9, tokens_of({1, 2}));
  CHECK(find(9, tokens_of({1, 2})).groups[0].pages == find(8, tokens_of({1, 2})).groups[0].pages);
  CHECK(pools.pool(0).unheld() == 16);
}

TEST_CASE("pages that are shared stay when all others are taken, and a key lets go of them") {
  PagePools pools(std::vector<uint32_t>{6}, {0});
  share(pools, tokens_of({1, 2}));
  CHECK(pools.pool(0).unreserved() == 4);
  const std::vector<Token> longer = tokens_of({1, 2, 3});
  for (int round = 0; round < 3; ++round) {
    for (uint64_t key : {1, 2, 3}) read_and_keep(pools, key, longer, pools.prefixes().find(key, longer, 9));
    SequencePages all(pools, 4 * kPage, kPage);
    REQUIRE(all.valid());
    all.extend(4 * kPage);
    const std::set<uint32_t> taken(all.table(0).pages, all.table(0).pages + 4);
    for (uint64_t key : {1, 2, 3, 4}) {
      const Prefix prefix = pools.prefixes().find(key, longer, 9);
      CHECK(prefix.blocks == 2);
      for (uint32_t page : prefix.groups[0].pages) CHECK(taken.count(page) == 0);
    }
    SequencePages none(pools, 1, kPage);
    CHECK_FALSE(none.valid());
  }
  CHECK(pools.prefixes().blocks() <= 6);
}

TEST_CASE("keys that share pages do not make the cache grow beyond them") {
  PagePools pools(std::vector<uint32_t>{10}, {0});
  share(pools, tokens_of({1, 2, 3, 4}));
  const std::vector<Token> longer = tokens_of({1, 2, 3, 4, 5});
  for (uint64_t key = 0; key < 1000; ++key) {
    go_on(pools, key, longer);
    REQUIRE(pools.prefixes().blocks() <= 10);
    REQUIRE(pools.prefixes().find(key, longer, 5).blocks >= 4);
  }
  CHECK(pools.pool(0).unheld() == 10);
}

TEST_CASE("a deep tree goes without trouble") {
  PagePools pools(std::vector<uint32_t>{20000}, {0});
  std::vector<Token> tokens(size_t{20000} * kPage, 3);
  read_and_keep(pools, 1, tokens);
  CHECK(pools.prefixes().blocks() == 20000);
}

TEST_CASE("a deep tree that is shared goes without trouble") {
  PagePools pools(std::vector<uint32_t>{40000}, {0});
  share(pools, std::vector<Token>(size_t{20000} * kPage, 3));
  CHECK(pools.prefixes().blocks() == 20000);
}

// Each page remembers which tokens up to which block it holds; whoever finds a page finds the right ones,
// nobody's page is overwritten, and the reservation is never exceeded (extend asserts it).
TEST_CASE("sequences with shared beginnings come and go") {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    const uint32_t window = 1 + random() % 300;
    PagePools pools(std::vector<uint32_t>{46, 36}, {0, window});
    constexpr uint64_t kShared = 99;
    const std::vector<Token> shared = tokens_of({0, 1, 0});
    share(pools, shared);
    struct Running {
      uint64_t key;
      std::vector<Token> tokens;
      SequencePages pages;
      uint32_t done;
    };
    std::list<Running> running;
    std::map<std::pair<uint32_t, uint32_t>, std::pair<uint64_t, std::vector<Token>>>
        content;  // of (group, page)
    for (uint32_t blocks : {2u, 3u}) {
      const Prefix kept = pools.prefixes().find(kShared, shared, blocks);
      REQUIRE(kept.blocks == blocks);
      for (uint32_t group : {0u, 1u}) {
        for (uint32_t i = 0; i < kept.groups[group].pages.size(); ++i) {
          const uint32_t end = (kept.groups[group].first_block + i + 1) * kPage;
          content[{group, kept.groups[group].pages[i]}] = {kShared, {shared.begin(), shared.begin() + end}};
        }
      }
    }
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
            REQUIRE((its_key == key || its_key == kShared));
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
        if (random() % 3 == 0 || r.done == length) r.pages.keep(r.key, r.key, r.tokens, r.done);
        if (r.done == length || random() % 20 == 0) {
          at = running.erase(at);
        } else {
          ++at;
        }
      }
    }
    running.clear();
    CHECK(found > 0);
    CHECK(pools.prefixes().find(kShared, shared, 3).blocks == 3);
    for (uint32_t group : {0u, 1u}) {
      CHECK(pools.pool(group).unheld() == pools.pool(group).pages());
      CHECK(pools.pool(group).unreserved() == pools.pool(group).pages() - pools.pool(group).set_aside());
    }
  }
}
