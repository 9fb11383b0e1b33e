// Routing, experts and joined values of the backend under test against the same sums written out in double.
#include <doctest/doctest.h>
#include <facet/blocks.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "tests/backends/sketch.h"

using namespace facet;
using namespace facet::test;

namespace {

Batch rows_of(uint32_t rows, std::vector<std::vector<float>> inputs) {
  Batch batch;
  for (uint32_t r = 0; r < rows; ++r) batch.rows.push_back({.position = static_cast<int32_t>(r)});
  batch.inputs = std::move(inputs);
  return batch;
}

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

// The shares of the `used` largest of one row's logits, 0 for the others.
std::vector<double> exact_route(const float* logits, size_t experts, uint32_t used) {
  std::vector<double> share(experts);
  double sum = 0;
  for (uint32_t n = 0; n < used; ++n) {
    size_t best = experts;
    for (size_t e = 0; e < experts; ++e) {
      if (share[e] == 0 && (best == experts || logits[e] > logits[best])) best = e;
    }
    share[best] = std::exp(double{logits[best]});
    sum += share[best];
  }
  for (double& s : share) s /= sum;
  return share;
}

struct Mixture {
  uint32_t type = FACET_TYPE_F32;
  bool fused = false, factors = true;
  uint32_t width = 64, inner = 32, experts = 6, used = 2;
};

// Inputs "x" and "logits", output "mixed".
struct MixtureSketch {
  MixtureSketch(const Mixture& m, Random& random) {
    const uint32_t x = s.input("x", m.width), logits = s.input("logits", m.experts);
    gate = s.weight(m.type, {m.width, m.fused ? 2 * m.inner : m.inner, m.experts}, random);
    down = s.weight(m.type, {m.inner, m.width, m.experts}, random);
    up = m.fused ? FACET_NONE : s.weight(m.type, {m.width, m.inner, m.experts}, random);
    factors = m.factors ? s.weight(FACET_TYPE_F32, {m.experts}, random) : FACET_NONE;
    const uint32_t routes = s.value(m.experts), mixed = s.value(m.width);
    s.op(FACET_OP_ROUTE, {logits}, {}, routes).p.route.used = m.used;
    facet_op& op = s.op(FACET_OP_EXPERTS, {x, routes}, {gate, down}, mixed);
    op.weights[2] = up;
    op.weights[3] = factors;
    op.p.experts.activation = FACET_GELU_TANH;
    s.output("mixed", mixed);
  }

  Sketch s;
  uint32_t gate, down, up, factors;
};

// One row of the mixture in exact arithmetic. `size` gets how far the largest element moves, per relative
// change of each matmul's terms in the same direction.
std::vector<double> exact_mixture(const MixtureSketch& sketch, const Mixture& m, const float* x,
                                  const float* logits, double& size) {
  const std::vector<float> gate = sketch.s.decoded(sketch.gate), down = sketch.s.decoded(sketch.down);
  const std::vector<float> up = m.fused ? gate : sketch.s.decoded(sketch.up);
  const std::vector<float> factors =
      m.factors ? sketch.s.decoded(sketch.factors) : std::vector<float>(m.experts, 1);
  const std::vector<double> share = exact_route(logits, m.experts, m.used);
  auto dot = [](const float* a, const auto* b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += double{a[i]} * double{b[i]};
    return sum;
  };
  auto magnitudes = [](const float* a, const auto* b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += std::abs(double{a[i]} * double{b[i]});
    return sum;
  };
  std::vector<double> mixed(m.width), sizes(m.width);
  for (size_t e = 0; e < m.experts; ++e) {
    if (share[e] == 0) continue;
    std::vector<double> hidden(m.inner), moves(m.inner);
    for (size_t i = 0; i < m.inner; ++i) {
      const size_t gate_row = (m.fused ? 2 : 1) * m.inner * e + i;
      const size_t up_row = m.fused ? gate_row + m.inner : gate_row;
      const float *gates = &gate[gate_row * m.width], *ups = &up[up_row * m.width];
      const double g = gelu(dot(gates, x, m.width)), u = dot(ups, x, m.width);
      hidden[i] = g * u;
      moves[i] =
          1.13 * magnitudes(gates, x, m.width) * std::abs(u) + std::abs(g) * magnitudes(ups, x, m.width);
    }
    for (size_t j = 0; j < m.width; ++j) {
      const float* downs = &down[(e * m.width + j) * m.inner];
      const double part = share[e] * double{factors[e]};
      mixed[j] += part * dot(downs, hidden.data(), m.inner);
      sizes[j] += std::abs(part) *
                  (magnitudes(downs, moves.data(), m.inner) + magnitudes(downs, hidden.data(), m.inner));
    }
  }
  size = *std::max_element(sizes.begin(), sizes.end());
  return mixed;
}

}  // namespace

TEST_CASE("route gives the largest logits their shares, the first of equal ones, and the others nothing") {
  for (uint32_t used : {1u, 3u, 8u}) {
    CAPTURE(used);
    Sketch s;
    const uint32_t x = s.input("x", 8), out = s.value(8);
    s.op(FACET_OP_ROUTE, {x}, {}, out).p.route.used = used;
    s.output("out", out);
    Random random(used);
    std::vector<float> logits = random.floats(5 * 8, -4, 4);
    for (size_t e = 0; e < 8; ++e) logits[8 + e] = e == 0 ? -1.0f : 2.0f;  // ties
    logits[16] = 900;                                                      // far apart
    logits[17] = -900;
    Rig rig(s, {});
    const std::vector<float> got = rig.run(rows_of(5, {logits}));
    for (size_t r = 0; r < 5; ++r) {
      const std::vector<double> want = r == 2 ? std::vector<double>{} : exact_route(&logits[r * 8], 8, used);
      uint32_t chosen = 0;
      double sum = 0;
      for (size_t e = 0; e < 8; ++e) {
        const float share = got[r * 8 + e];
        chosen += share > 0;
        sum += double{share};
        if (r != 2) REQUIRE(double{share} == doctest::Approx(want[e]).epsilon(1e-5));
        if (r != 2) REQUIRE((share == 0) == (want[e] == 0));
      }
      CHECK(chosen <= used);
      CHECK(sum == doctest::Approx(1).epsilon(1e-5));
    }
    CHECK(got[16] == 1);
  }
}

TEST_CASE("experts: every type, gates and ups apart or together, with and without factors") {
  for (uint32_t type : kTypes) {
    const bool wide = facet_block_size_of(type).elements == 256;
    for (bool fused : {false, true}) {
      CAPTURE(facet_type_name(type));
      CAPTURE(fused);
      const Mixture m{type, fused, fused, wide ? 256u : 64u, wide ? 256u : 96u, 5, 2};
      Random random(type + 100);
      MixtureSketch sketch(m, random);
      const std::vector<float> x = random.floats(7 * m.width), logits = random.floats(7 * m.experts, -2, 2);
      Rig rig(sketch.s, {});
      const std::vector<float> got = rig.run(rows_of(7, {x, logits}));
      for (size_t r = 0; r < 7; ++r) {
        double size = 0;
        const std::vector<double> want =
            exact_mixture(sketch, m, &x[r * m.width], &logits[r * m.experts], size);
        for (size_t j = 0; j < m.width; ++j) {
          REQUIRE(std::abs(double{got[r * m.width + j]} - want[j]) <= tolerance(type) * std::max(size, 1.0));
        }
      }
    }
  }
}

TEST_CASE("experts: a row's bits depend on no other row, and experts that no row chose are not read") {
  const Mixture m{FACET_TYPE_F32, false, true, 64, 32, 16, 2};
  Random random(4);
  MixtureSketch sketch(m, random);
  const uint32_t rows = 40;
  const std::vector<float> x = random.floats(rows * m.width);
  std::vector<float> logits = random.floats(rows * m.experts, -2, 2);
  for (size_t r = 0; r < rows; ++r) logits[r * m.experts + 7] = -50;
  for (uint32_t weight : {sketch.gate, sketch.down, sketch.up}) {
    const facet_weight& w = sketch.s.weights[weight];
    auto* data = static_cast<float*>(const_cast<void*>(w.data));
    std::fill_n(data + 7 * w.dims[0] * w.dims[1], w.dims[0] * w.dims[1],
                std::numeric_limits<float>::quiet_NaN());
  }
  Rig rig(sketch.s, {});
  const std::vector<float> together = rig.run(rows_of(rows, {x, logits}));
  for (float value : together) REQUIRE(std::isfinite(value));
  for (size_t r = 0; r < rows; ++r) {
    const std::vector<float> alone = rig.run(rows_of(
        1, {{x.begin() + static_cast<long>(r * m.width), x.begin() + static_cast<long>((r + 1) * m.width)},
            {logits.begin() + static_cast<long>(r * m.experts),
             logits.begin() + static_cast<long>((r + 1) * m.experts)}}));
    REQUIRE(std::equal(alone.begin(), alone.end(), together.begin() + static_cast<long>(r * m.width)));
  }
}

TEST_CASE("concat puts two values side by side") {
  Sketch s;
  const uint32_t x = s.input("x", 3), y = s.input("y", 5), out = s.value(8), twice = s.value(6);
  s.op(FACET_OP_CONCAT, {x, y}, {}, out);
  s.op(FACET_OP_CONCAT, {x, x}, {}, twice);
  s.output("out", out);
  s.output("twice", twice);
  Rig rig(s, {});
  const Batch batch = rows_of(2, {{1, 2, 3, 4, 5, 6}, {10, 20, 30, 40, 50, 60, 70, 80, 90, 100}});
  CHECK(rig.run(batch) == std::vector<float>{1, 2, 3, 10, 20, 30, 40, 50, 4, 5, 6, 60, 70, 80, 90, 100});
  CHECK(rig.read(rig.context, batch, 1) == std::vector<float>{1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6});
}
