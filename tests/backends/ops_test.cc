// Each op of the backend under test against the same sums written out in double.
#include <doctest/doctest.h>
#include <facet/blocks.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "tests/backends/sketch.h"

using namespace facet;
using namespace facet::test;

namespace {

Batch rows_at(const std::vector<int32_t>& positions) {
  Batch batch;
  for (int32_t position : positions) batch.rows.push_back({.position = position});
  return batch;
}

// Runs a sketch of one op on inputs only.
std::vector<float> run_simple(Sketch& sketch, std::vector<std::vector<float>> inputs, uint32_t rows) {
  Rig rig(sketch, {});
  Batch batch = rows_at(std::vector<int32_t>(rows));
  for (uint32_t r = 0; r < rows; ++r) batch.rows[r].position = static_cast<int32_t>(r);
  batch.inputs = std::move(inputs);
  return rig.run(batch);
}

void check_close(const std::vector<float>& got, const std::vector<double>& want, double allowed) {
  REQUIRE(got.size() == want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    REQUIRE(std::abs(double{got[i]} - want[i]) <= allowed * std::max(1.0, std::abs(want[i])));
  }
}

}  // namespace

TEST_CASE("embed scales the token's row and takes external embeddings as they are") {
  for (uint32_t type : kTypes) {
    CAPTURE(facet_type_name(type));
    Random random(type + 1);
    Sketch sketch;
    const uint32_t table = sketch.weight(type, {512, 7}, random);
    sketch.weights[table].access = FACET_ACCESS_ROWS;
    const uint32_t out = sketch.value(512);
    sketch.op(FACET_OP_EMBED, {}, {table}, out).p.embed.scale = 3.5f;
    sketch.output("out", out);

    Batch batch = rows_at({0, 1, 2, 3});
    batch.rows[0].token = 6;
    batch.rows[1].token = -2;  // embedding 1
    batch.rows[2].token = 0;
    batch.rows[3].token = -1;
    batch.embeddings = random.floats(2 * 512);
    Rig rig(sketch, {});
    const std::vector<float> got = rig.run(batch);

    const std::vector<float> rows = sketch.decoded(table);
    for (size_t i = 0; i < 512; ++i) {
      REQUIRE(double{got[i]} == doctest::Approx(3.5 * double{rows[6 * 512 + i]}).epsilon(1e-6));
      REQUIRE(got[512 + i] == batch.embeddings[512 + i]);
      REQUIRE(double{got[1024 + i]} == doctest::Approx(3.5 * double{rows[i]}).epsilon(1e-6));
      REQUIRE(got[1536 + i] == batch.embeddings[i]);
    }
  }
}

TEST_CASE("rms_norm divides each segment by its root mean square") {
  Random random(2);
  for (uint32_t segment : {96u, 32u, 3u}) {
    for (bool weighted : {true, false}) {
      Sketch sketch;
      const uint32_t x = sketch.input("x", 96), out = sketch.value(96);
      const std::vector<float> weight = random.floats(segment);
      std::vector<uint32_t> weights;
      if (weighted) weights.push_back(sketch.weight_f32({segment, 1}, weight));
      facet_op& op = sketch.op(FACET_OP_RMS_NORM, {x}, weights, out);
      op.p.norm.segment = segment;
      op.p.norm.eps = 1e-3f;
      sketch.output("out", out);

      const std::vector<float> data = random.floats(5 * 96);
      std::vector<double> want(data.size());
      for (size_t start = 0; start < data.size(); start += segment) {
        double sum = 0;
        for (size_t i = 0; i < segment; ++i) sum += double{data[start + i]} * double{data[start + i]};
        const double root = std::sqrt(sum / segment + double{1e-3f});
        for (size_t i = 0; i < segment; ++i) {
          want[start + i] = double{data[start + i]} / root * (weighted ? double{weight[i]} : 1.0);
        }
      }
      check_close(run_simple(sketch, {data}, 5), want, tolerance());
    }
  }
}

TEST_CASE("matmul takes any type, width and number of rows") {
  for (uint32_t type : kTypes) {
    const uint32_t block = facet_block_size_of(type).elements;
    for (uint32_t width : {block == 1 ? 37u : block, block == 1 ? 640u : 3 * block}) {
      for (uint32_t outputs : {1u, 5u, 33u}) {
        CAPTURE(facet_type_name(type));
        CAPTURE(width);
        CAPTURE(outputs);
        Random random(type * 100 + outputs);
        Sketch sketch;
        const uint32_t x = sketch.input("x", width), out = sketch.value(outputs);
        const uint32_t w = sketch.weight(type, {width, outputs}, random);
        sketch.op(FACET_OP_MATMUL, {x}, {w}, out);
        sketch.output("out", out);

        const uint32_t rows = outputs == 5 ? 1 : 19;
        const std::vector<float> data = random.floats(size_t{rows} * width), weight = sketch.decoded(w);
        const std::vector<float> got = run_simple(sketch, {data}, rows);
        for (size_t r = 0; r < rows; ++r) {
          for (size_t j = 0; j < outputs; ++j) {
            double want = 0, x_square = 0, w_square = 0;
            for (size_t k = 0; k < width; ++k) {
              const double a = double{data[r * width + k]}, b = double{weight[j * width + k]};
              want += a * b;
              x_square += a * a;
              w_square += b * b;
            }
            const double size = std::sqrt(x_square * w_square);
            REQUIRE(std::abs(double{got[r * outputs + j]} - want) <= tolerance(type) * size);
          }
        }
      }
    }
  }
}

TEST_CASE("rope rotates the pairs of each head and leaves the rest") {
  Random random(3);
  for (uint32_t n_rot : {16u, 8u}) {
    for (bool with_factors : {false, true}) {
      Sketch sketch;
      const uint32_t x = sketch.input("x", 48), out = sketch.value(48);
      const std::vector<float> factors = random.floats(n_rot / 2, 1, 8);
      std::vector<uint32_t> weights;
      if (with_factors) weights.push_back(sketch.weight_f32({n_rot / 2, 1}, factors));
      facet_op& op = sketch.op(FACET_OP_ROPE, {x}, weights, out);
      op.p.rope.head_dim = 16;
      op.p.rope.n_rot = n_rot;
      op.p.rope.base = 10000;
      op.p.rope.freq_scale = 0.125f;
      sketch.output("out", out);

      Batch batch = rows_at({0, 1, 77, 1000, 131071});
      batch.inputs = {random.floats(5 * 48)};
      const std::vector<float>& data = batch.inputs[0];
      std::vector<double> want(data.begin(), data.end());
      for (size_t r = 0; r < 5; ++r) {
        for (size_t i = 0; i < n_rot / 2; ++i) {
          double angle =
              batch.rows[r].position * 0.125 * std::pow(10000.0, -2.0 * static_cast<double>(i) / n_rot);
          if (with_factors) angle /= double{factors[i]};
          for (size_t head = 0; head < 3; ++head) {
            const size_t a = r * 48 + head * 16 + i, b = a + n_rot / 2;
            want[a] = double{data[a]} * std::cos(angle) - double{data[b]} * std::sin(angle);
            want[b] = double{data[a]} * std::sin(angle) + double{data[b]} * std::cos(angle);
          }
        }
      }
      Rig rig(sketch, {});
      check_close(rig.run(batch), want, tolerance());
    }
  }
}

TEST_CASE("elementwise ops") {
  Random random(4);
  const std::vector<float> a = random.floats(7 * 33, -6, 6), b = random.floats(7 * 33, -2, 2);
  auto run = [&](uint32_t kind, bool two, auto fill, std::vector<float> weight = {}) {
    Sketch sketch;
    const uint32_t x = sketch.input("x", 33);
    std::vector<uint32_t> inputs = {x}, weights;
    if (two) inputs.push_back(sketch.input("y", 33));
    if (!weight.empty()) weights.push_back(sketch.weight_f32({weight.size(), 1}, weight));
    const uint32_t out = sketch.value(33);
    fill(sketch.op(kind, inputs, weights, out));
    sketch.output("out", out);
    std::vector<std::vector<float>> data = {a};
    if (two) data.push_back(b);
    return run_simple(sketch, std::move(data), 7);
  };
  auto want = [&](auto function) {
    std::vector<double> values(a.size());
    for (size_t i = 0; i < a.size(); ++i) values[i] = function(double{a[i]}, double{b[i]}, i % 33);
    return values;
  };
  auto nothing = [](facet_op&) {};

  check_close(run(FACET_OP_ADD, true, nothing), want([](double x, double y, size_t) { return x + y; }), 1e-6);
  check_close(run(FACET_OP_MUL, true, nothing), want([](double x, double y, size_t) { return x * y; }), 1e-6);
  check_close(run(FACET_OP_GATED, true, [](facet_op& op) { op.p.gated.activation = FACET_GELU_TANH; }),
              want([](double x, double y, size_t) {
                const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
                return 0.5 * x * (1 + std::tanh(inner)) * y;
              }),
              tolerance());
  check_close(run(FACET_OP_SOFT_CAP, false, [](facet_op& op) { op.p.soft_cap.cap = 2.5f; }),
              want([](double x, double, size_t) { return 2.5 * std::tanh(x / 2.5); }), tolerance());
  auto factor = [](facet_op& op) { op.p.scale.factor = -0.3f; };
  check_close(run(FACET_OP_SCALE, false, factor),
              want([](double x, double, size_t) { return x * double{-0.3f}; }), 1e-6);
  check_close(run(FACET_OP_SCALE, false, factor, {0.7f}),
              want([](double x, double, size_t) { return x * double{-0.3f} * double{0.7f}; }), 1e-6);
  const std::vector<float> columns = random.floats(33);
  check_close(run(FACET_OP_SCALE, false, factor, columns),
              want([&](double x, double, size_t i) { return x * double{-0.3f} * double{columns[i]}; }), 1e-6);
}

TEST_CASE("columns and select copy bits") {
  Random random(5);
  Sketch sketch;
  const uint32_t x = sketch.input("x", 20);
  const uint32_t cut = sketch.value(6), out = sketch.value(6, FACET_ROWS_SELECTED);
  sketch.op(FACET_OP_COLUMNS, {x}, {}, cut).p.columns.first = 13;
  sketch.op(FACET_OP_SELECT, {cut}, {}, out);
  sketch.output("out", out);
  sketch.output("all", cut);
  Rig rig(sketch, {});
  Batch batch = rows_at({0, 1, 2, 3, 4});
  batch.inputs = {random.floats(100)};

  for (const std::vector<uint32_t>& selected : {std::vector<uint32_t>{1, 4}, {}, {0, 1, 2, 3, 4}}) {
    batch.selected = selected;
    const std::vector<float> got = rig.run(batch), all = rig.read(rig.context, batch, 1);
    REQUIRE(got.size() == selected.size() * 6);
    for (size_t i = 0; i < selected.size(); ++i) {
      for (size_t k = 0; k < 6; ++k) {
        CHECK(got[i * 6 + k] == batch.inputs[0][selected[i] * 20 + 13 + k]);
        CHECK(all[selected[i] * 6 + k] == got[i * 6 + k]);
      }
    }
  }
}

namespace {

// Attention alone: queries, keys and values are inputs.
struct AttentionCase {
  uint32_t heads, kv_heads, key_dim, value_dim, window, cache_type;
  uint32_t page_positions = 32;
};

void append_and_attend(Sketch& sketch, const AttentionCase& c) {
  const uint32_t layer = sketch.layer(sketch.group(c.page_positions), c.kv_heads, c.key_dim, c.value_dim);
  const uint32_t q = sketch.input("q", c.heads * c.key_dim), k = sketch.input("k", c.kv_heads * c.key_dim),
                 v = sketch.input("v", c.kv_heads * c.value_dim), out = sketch.value(c.heads * c.value_dim);
  sketch.op(FACET_OP_CACHE_APPEND, {k, v}, {}, FACET_NONE).p.append.layer = layer;
  facet_op& op = sketch.op(FACET_OP_ATTENTION, {q}, {}, out);
  op.p.attention.layer = layer;
  op.p.attention.heads = c.heads;
  op.p.attention.window = c.window;
  op.p.attention.scale = 0.4f;
  sketch.output("out", out);
  sketch.cache_type = c.cache_type;
}

// Keys or values as the cache keeps them.
std::vector<float> stored(const AttentionCase& c, std::vector<float> x) {
  if (c.cache_type == FACET_TYPE_F16) {
    for (float& value : x) value = facet_f16_to_f32(facet_f32_to_f16(value));
  }
  if (c.cache_type == FACET_TYPE_Q8_0) {
    for (size_t i = 0; i < x.size(); i += 32) {
      facet_block_q8_0 block;
      facet_encode_q8_0(&x[i], &block);
      facet_decode_q8_0(&block, &x[i]);
    }
  }
  return x;
}

// All rows are positions 0.. of one sequence; row r sees positions first .. last.
std::vector<double> exact_attention(const AttentionCase& c, const Batch& batch, int32_t row,
                                    const std::vector<float>& k, const std::vector<float>& v) {
  const auto& q = batch.inputs[0];
  const int32_t last = std::max(batch.rows[static_cast<size_t>(row)].last_visible, row);
  const int32_t first = c.window == 0 ? 0 : std::max(0, row - static_cast<int32_t>(c.window) + 1);
  std::vector<double> out;
  for (uint32_t h = 0; h < c.heads; ++h) {
    const size_t kv = h / (c.heads / c.kv_heads);
    std::vector<double> share;
    double total = 0;
    for (int32_t p = first; p <= last; ++p) {
      double score = 0;
      for (size_t i = 0; i < c.key_dim; ++i) {
        score += double{q[(static_cast<size_t>(row) * c.heads + h) * c.key_dim + i]} *
                 double{k[(static_cast<size_t>(p) * c.kv_heads + kv) * c.key_dim + i]};
      }
      share.push_back(std::exp(double{0.4f} * score));
      total += share.back();
    }
    for (size_t i = 0; i < c.value_dim; ++i) {
      double sum = 0;
      for (int32_t p = first; p <= last; ++p) {
        sum += share[static_cast<size_t>(p - first)] *
               double{v[(static_cast<size_t>(p) * c.kv_heads + kv) * c.value_dim + i]};
      }
      out.push_back(sum / total);
    }
  }
  return out;
}

}  // namespace

TEST_CASE("attention: grouped heads, windows, spans that see both ways, all types of caches, several pages") {
  Random random(6);
  for (const AttentionCase& c :
       {AttentionCase{4, 1, 64, 64, 0, FACET_TYPE_F32}, AttentionCase{4, 2, 16, 24, 0, FACET_TYPE_F16},
        AttentionCase{2, 2, 8, 8, 5, FACET_TYPE_F32}, AttentionCase{6, 2, 16, 16, 33, FACET_TYPE_F16, 64},
        AttentionCase{1, 1, 3, 5, 1, FACET_TYPE_F32, 256}, AttentionCase{4, 1, 64, 96, 0, FACET_TYPE_Q8_0},
        AttentionCase{6, 2, 96, 32, 33, FACET_TYPE_Q8_0, 64}}) {
    for (bool span : {false, true}) {
      CAPTURE(c.heads);
      CAPTURE(c.window);
      CAPTURE(span);
      constexpr int32_t kRows = 75;
      Sketch sketch;
      append_and_attend(sketch, c);
      Rig rig(sketch, {4}, kRows);
      Batch batch = rows_at(std::vector<int32_t>(kRows));
      for (int32_t r = 0; r < kRows; ++r) {
        batch.rows[static_cast<size_t>(r)].position = r;
        if (span && r >= 20 && r < 50) batch.rows[static_cast<size_t>(r)].last_visible = 49;
      }
      batch.sequences = {{{{3, 0, 2}}, {}}};
      batch.inputs = {random.floats(kRows * c.heads * c.key_dim),
                      random.floats(kRows * c.kv_heads * c.key_dim),
                      random.floats(kRows * c.kv_heads * c.value_dim)};
      const std::vector<float> keys = stored(c, batch.inputs[1]), values = stored(c, batch.inputs[2]);
      std::vector<double> want;
      for (int32_t r = 0; r < kRows; ++r) {
        for (double value : exact_attention(c, batch, r, keys, values)) want.push_back(value);
      }
      check_close(rig.run(batch), want, backend_under_test() == "reference" ? 1e-6 : 1e-4);
    }
  }
}

TEST_CASE(
    "attention over Q8_0: a block with an infinity or a NaN is seen by those who look at it, zeros are "
    "zeros") {
  for (float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Sketch sketch;
    append_and_attend(sketch, {1, 1, 32, 64, 2, FACET_TYPE_Q8_0});
    Rig rig(sketch, {1});
    Batch batch = rows_at({0, 1, 2, 3});
    batch.sequences = {{{{0}}, {}}};
    batch.inputs = {std::vector<float>(4 * 32, 1), std::vector<float>(4 * 32), std::vector<float>(4 * 64)};
    batch.inputs[2][64 + 40] = wrong;  // position 1, second block
    const std::vector<float> got = rig.run(batch);
    for (size_t r = 0; r < 4; ++r) {
      for (size_t i = 0; i < 64; ++i) {
        CAPTURE(r);
        CAPTURE(i);
        if ((r == 1 || r == 2) && i >= 32) {
          CHECK(std::isnan(got[r * 64 + i]));
        } else {
          CHECK(got[r * 64 + i] == 0.0f);
        }
      }
    }
  }
}

TEST_CASE("attention survives scores far apart and of any sign") {
  Sketch sketch;
  append_and_attend(sketch, {1, 1, 2, 2, 0, FACET_TYPE_F32});
  Rig rig(sketch, {1});
  Batch batch = rows_at({0, 1, 2});
  batch.sequences = {{{{0}}, {}}};
  batch.inputs = {{1, 0, 1, 0, 1, 0}, {-20000, 0, 20000, 0, -19999, 0}, {1, 2, 3, 4, 5, 6}};
  const std::vector<float> got = rig.run(batch);
  CHECK(got == std::vector<float>{1, 2, 3, 4, 3, 4});
}
