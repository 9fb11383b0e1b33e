#include "daemon/engine/pages.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
#include <random>
#include <set>

using facet::engine::PagePool;
using facet::engine::PagePools;
using facet::engine::pages_needed;
using facet::engine::SequencePages;
using facet::model::kPagePositions;

TEST_CASE("a pool hands out each page once, and again when nobody holds or keeps it") {
  PagePool pool(3);
  pool.reserve(2);
  CHECK(pool.unreserved() == 1);
  std::set<uint32_t> taken;
  for (int i = 0; i < 3; ++i) taken.insert(pool.take());
  CHECK(taken == std::set<uint32_t>{0, 1, 2});
  CHECK(pool.unheld() == 0);
  pool.hold(1);
  pool.let_go(1);
  CHECK(pool.unheld() == 0);
  pool.let_go(1);
  CHECK(pool.unheld() == 1);
  CHECK(pool.take() == 1);
  pool.keep(1);
  pool.let_go(1);
  CHECK(pool.unheld() == 1);
  CHECK_FALSE(pool.has_free());
  pool.hold(1);
  CHECK(pool.unheld() == 0);
  pool.drop(1);
  CHECK_FALSE(pool.has_free());
  pool.let_go(1);
  CHECK(pool.has_free());
}

TEST_CASE("a page that two keep stays until both have dropped it") {
  PagePool pool(1);
  const uint32_t page = pool.take();
  pool.keep(page);
  pool.keep(page);
  pool.let_go(page);
  pool.drop(page);
  CHECK_FALSE(pool.has_free());
  CHECK(pool.unheld() == 1);
  pool.hold(page);
  CHECK(pool.unheld() == 0);
  pool.let_go(page);
  CHECK_FALSE(pool.has_free());
  pool.drop(page);
  CHECK(pool.has_free());
  CHECK(pool.unheld() == 1);
}

TEST_CASE("what is set aside is reserved for good") {
  PagePool pool(5);
  pool.set_aside(2);
  pool.reserve(3);
  CHECK(pool.unreserved() == 0);
  pool.unreserve(3);
  CHECK(pool.unreserved() == 3);
  CHECK(pool.set_aside() == 2);
}

TEST_CASE("a windowed group needs its window and the chunk, a global one all") {
  CHECK(pages_needed(0, 1, 1) == 1);
  CHECK(pages_needed(0, kPagePositions, 1) == 1);
  CHECK(pages_needed(0, kPagePositions + 1, 1) == 2);
  CHECK(pages_needed(512, 100000, 1) == 512 / kPagePositions + 2);
  CHECK(pages_needed(512, 100, 256) == 2);
  CHECK(pages_needed(1, 100000, 1) == 2);
}

TEST_CASE("a sequence that does not fit reserves nothing") {
  PagePools pools(std::vector<uint32_t>{10, 1}, {0, 16});
  SequencePages pages(pools, 5 * kPagePositions, 128);
  CHECK_FALSE(pages.valid());
  CHECK(pools.pool(0).unreserved() == 10);
  CHECK(pools.pool(1).unreserved() == 1);
}

// Every position that a row sees has a page, no page is held twice, and the reservation is never exceeded
// (extend and take assert it), for random windows, lengths and chunks.
TEST_CASE("pages cover what rows see while sequences come and go") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    uint32_t window = 1 + random() % 700;
    PagePools pools(std::vector<uint32_t>{60, 60}, {0, window});
    struct Running {
      SequencePages pages;
      uint32_t length, chunk, done = 0;
    };
    std::vector<Running> running;
    for (int step = 0; step < 60; ++step) {
      uint32_t length = 1 + random() % 900, chunk = 1 + random() % 300;
      SequencePages pages(pools, length, chunk);
      if (pages.valid()) running.push_back({std::move(pages), length, chunk});
      std::set<std::pair<uint32_t, uint32_t>> held;
      for (Running& r : running) {
        uint32_t rows = std::min(1 + static_cast<uint32_t>(random()) % r.chunk, r.length - r.done);
        r.pages.extend(r.done + rows);
        for (uint32_t group = 0; group < 2; ++group) {
          facet_page_table table = r.pages.table(group);
          uint32_t oldest = group == 1 && r.done + 1 > window ? r.done + 1 - window : 0;
          REQUIRE(table.first_block <= oldest / kPagePositions);
          REQUIRE(table.first_block + table.count > (r.done + rows - 1) / kPagePositions);
          for (uint32_t i = 0; i < table.count; ++i) REQUIRE(held.insert({group, table.pages[i]}).second);
        }
        r.done += rows;
      }
      for (Running& r : running) r.pages.retire(r.done);
      std::vector<Running> rest;
      for (Running& r : running) {
        if (r.done < r.length && random() % 20 != 0) rest.push_back(std::move(r));
      }
      running = std::move(rest);
    }
    running.clear();
    for (uint32_t group : {0u, 1u}) {
      CHECK(pools.pool(group).unheld() == pools.pool(group).pages());
      CHECK(pools.pool(group).unreserved() == pools.pool(group).pages());
    }
  }
}
