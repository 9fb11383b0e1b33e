#include "daemon/engine/scheduler.h"

#include <doctest/doctest.h>

using facet::engine::Candidate;
using facet::engine::plan_step;
using facet::engine::Share;

namespace {

std::vector<std::pair<uint32_t, uint32_t>> plan(std::vector<Candidate> candidates, uint32_t rows,
                                                uint32_t chunk) {
  std::vector<std::pair<uint32_t, uint32_t>> result;
  for (const Share& share : plan_step(candidates, rows, chunk))
    result.push_back({share.candidate, share.rows});
  return result;
}

using Plan = std::vector<std::pair<uint32_t, uint32_t>>;

}  // namespace

TEST_CASE("who generates comes first, then prompts in order of arrival") {
  CHECK(plan({{100, false}, {1, false}, {50, false}, {1, false}}, 64, 40) ==
        Plan{{1, 1}, {3, 1}, {0, 40}, {2, 22}});
}

TEST_CASE("who is paused or has nothing pending has no share") {
  CHECK(plan({{1, true}, {0, false}, {9, true}, {1, false}}, 64, 40) == Plan{{3, 1}});
  CHECK(plan({}, 64, 40).empty());
}

TEST_CASE("the rows of a step are a bound") {
  CHECK(plan({{1, false}, {1, false}, {1, false}}, 2, 40) == Plan{{0, 1}, {1, 1}});
  CHECK(plan({{1, false}, {70, false}}, 11, 40) == Plan{{0, 1}, {1, 10}});
}
