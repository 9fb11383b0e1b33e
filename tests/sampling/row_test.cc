#include "daemon/sampling/row.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>

#include "daemon/sampling/natural_log.h"
#include "daemon/sampling/random.h"
#include "tests/sampling/rows.h"

using namespace facet::sampling;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The first `count` in rank above -infinity, by sorting; then in the order of ids.
std::vector<uint32_t> top_by_sorting(const std::vector<float>& row, uint32_t count) {
  std::vector<uint32_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) { return row[a] > row[b]; });
  std::erase_if(ids, [&](uint32_t id) { return row[id] == -kInfinity; });
  ids.resize(std::min<size_t>(ids.size(), count));
  std::sort(ids.begin(), ids.end());
  return ids;
}

// Those of every instruction set that this processor has, the portable ones first.
std::vector<const RowKernels*> kernels_here() {
  std::vector<const RowKernels*> all;
  for (RowIsa isa : {RowIsa::kPortable, RowIsa::kAvx2, RowIsa::kAvx512}) {
    if (const RowKernels* kernels = row_kernels(isa)) all.push_back(kernels);
  }
  return all;
}

}  // namespace

TEST_CASE("Philox gives the published numbers") {
  // Random123's known answers for philox4x32-10.
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        std::array<uint32_t, 4>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}) ==
        std::array<uint32_t, 4>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        std::array<uint32_t, 4>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("uniform numbers lie in [0, 1) and change with seed, position and draw") {
  double sum = 0;
  for (uint64_t position = 0; position < 10000; ++position) {
    const double x = uniform(5, position, 0);
    REQUIRE(x >= 0);
    REQUIRE(x < 1);
    sum += x;
  }
  CHECK(sum / 10000 == doctest::Approx(0.5).epsilon(0.02));
  CHECK(uniform(1, 2, 3) == uniform(1, 2, 3));
  CHECK(uniform(1, 2, 3) != uniform(2, 2, 3));
  CHECK(uniform(1, 2, 3) != uniform(1, 3, 3));
  CHECK(uniform(1, 2, 3) != uniform(1, 2, 4));
  CHECK(uniform(1ull << 32, 2, 3) != uniform(0, 2, 3));
  CHECK(uniform(1, 1ull << 32, 3) != uniform(1, 0, 3));
}

TEST_CASE("the natural logarithm is right to 14 digits") {
  for (double x = 1e-30; x < 1e30; x *= 1.0173) {
    REQUIRE(std::abs(natural_log(x) - std::log(x)) <= 1e-14 * std::max(1.0, std::abs(std::log(x))));
  }
  CHECK(natural_log(1) == 0);
}

TEST_CASE("weights are exponentials to seven digits") {
  for (const RowKernels* kernels : kernels_here()) {
    std::mt19937 random(2);
    for (float temperature : {0.01f, 0.5f, 1.0f, 3.0f, 100.0f}) {
      const Weighing weighing = {10, float(kLog2E / temperature)};
      float block[kBlock];
      for (float& x : block) x = 10 - 80 * temperature * float(random() >> 8) * 0x1p-24f;
      block[0] = 10;
      block[1] = -kInfinity;
      block[2] = -3e38f;
      float weights[kBlock];
      kernels->weigh(block, weighing, -3e38f, weights);
      CHECK(weights[0] == 1);
      CHECK(weights[1] == 0);
      CHECK(weights[2] < 1e-37f);
      for (uint32_t i = 3; i < kBlock; ++i) {
        const double exact = std::exp2(double(block[i] - 10.0f) * weighing.scale);
        REQUIRE(std::abs(weights[i] / exact - 1) < 2e-7);
      }
    }
  }
}

TEST_CASE("every instruction set gives the same bits") {
  const RowKernels* portable = row_kernels(RowIsa::kPortable);
  for (const RowKernels* kernels : kernels_here()) {
    for (const NamedRow& named : rows_of(kBlock * 3, 11)) {
      const std::vector<float>& row = named.logits;
      CAPTURE(named.name);
      for (uint32_t begin = 0; begin < row.size(); begin += kBlock) {
        const float* block = row.data() + begin;
        float maxima[2][kGroupsPerBlock];
        CHECK(kernels->scan(block, maxima[0]) == portable->scan(block, maxima[1]));
        CHECK(std::equal(maxima[0], maxima[0] + kGroupsPerBlock, maxima[1]));
        const float most = *std::max_element(row.begin(), row.end());
        for (float scale : {0.0144f, 1.44269504f, 5.0f, 3e38f}) {
          for (float floor : {-kInfinity, -1e30f, 0.0f, 0.5f, most}) {
            const Weighing weighing = {most, scale};
            CHECK(kernels->count(block, floor) == portable->count(block, floor));
            const double a = kernels->mass(block, maxima[0], weighing, floor);
            const double b = portable->mass(block, maxima[1], weighing, floor);
            CHECK(std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b));
            float weights[2][kBlock];
            kernels->weigh(block, weighing, floor, weights[0]);
            portable->weigh(block, weighing, floor, weights[1]);
            REQUIRE(std::memcmp(weights[0], weights[1], sizeof weights[0]) == 0);
          }
        }
      }
    }
  }
}

TEST_CASE("a row finds its first tokens in rank, as sorting does") {
  Row row(*row_kernels(best_row_isa()));
  std::vector<float> logits;
  std::vector<uint32_t> ids;
  for (uint32_t size : {1u, 63u, 64u, 511u, 512u, 513u, 3000u, 20011u}) {
    for (const NamedRow& named : rows_of(size, size)) {
      const std::vector<float>& values = named.logits;
      CAPTURE(named.name);
      CAPTURE(size);
      row.assign(values);
      REQUIRE(row.scan().ok());
      CHECK(row.max() == *std::max_element(values.begin(), values.end()));
      CHECK(row.best() == std::max_element(values.begin(), values.end()) - values.begin());
      for (uint32_t count : {1u, 2u, 7u, 64u, 300u, 5000u, size}) {
        if (count > size) continue;
        row.top(count, logits, ids);
        REQUIRE(ids == top_by_sorting(values, count));
        for (size_t i = 0; i < ids.size(); ++i) REQUIRE(logits[i] == values[ids[i]]);
      }
    }
  }
}

TEST_CASE("a cut weighs what ranks before it, and every token of it can be picked") {
  Row row(*row_kernels(best_row_isa()));
  for (const NamedRow& named : rows_of(1500, 4)) {
    const std::vector<float>& values = named.logits;
    CAPTURE(named.name);
    row.assign(values);
    REQUIRE(row.scan().ok());
    const Weighing weighing = {row.max(), float(kLog2E)};
    std::mt19937 random(6);
    for (int round = 0; round < 40; ++round) {
      const uint32_t id = random() % 1500;
      if (values[id] == -kInfinity) continue;
      const Cut cut = {values[id], id};
      double expected = 0;
      for (uint32_t i = 0; i < 1500; ++i) {
        if (values[i] > cut.logit || (values[i] == cut.logit && i < id)) {
          expected += std::exp(double(values[i]) - row.max());
        }
      }
      Masses masses;
      row.weigh(weighing, cut, masses);
      REQUIRE(masses.total == doctest::Approx(expected).epsilon(1e-6));
      const double enough = row.softmax().total * double(random() % 1000) / 1000;
      CHECK(row.holds_less(cut, enough) == (masses.total == 0 || masses.total < enough));
      for (int i = 0; i < 20 && masses.total > 0; ++i) {
        const uint32_t token = row.pick(masses, cut, masses.total * double(i) / 20);
        REQUIRE((values[token] > cut.logit || (values[token] == cut.logit && token < id)));
      }
    }
  }
}

TEST_CASE("set() changes the row and leaves the caller's logits alone") {
  std::vector<float> logits(700, 1.0f);
  Row row(*row_kernels(best_row_isa()));
  row.assign(logits);
  row.set(699, 5);
  row.set(3, 4);
  row.set(3, 6);
  REQUIRE(row.scan().ok());
  CHECK(row.best() == 3);
  CHECK(row[699] == 5);
  CHECK(logits == std::vector<float>(700, 1.0f));
}
