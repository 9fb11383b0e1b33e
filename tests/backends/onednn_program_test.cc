// How the CPU backend compiles programs into steps, where it puts values, and that threads and instruction
// sets do not change a bit of a whole run.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "backends/onednn/device.h"
#include "backends/onednn/steps.h"
#include "tests/backends/sketch.h"

using namespace facet;
using namespace facet::cpu;
using facet::test::Batch;
using facet::test::Random;
using facet::test::Sketch;
using facet::test::Submit;

namespace {

constexpr uint32_t kWidth = 256, kHeads = 6, kHeadDim = 32;

struct Layer {
  uint32_t normed, out;  // values
};

// Norm, Q, K and V, rotated Q, attention, its projection, gated feed-forward, each with its residual.
Layer add_layer(Sketch& s, Random& random, uint32_t group, uint32_t x) {
  auto matmul = [&](uint32_t value, uint32_t type, uint32_t from, uint32_t to) {
    const uint32_t out = s.value(to);
    s.op(FACET_OP_MATMUL, {value}, {s.weight(type, {from, to}, random)}, out);
    return out;
  };
  auto norm = [&](uint32_t value) {
    const uint32_t out = s.value(kWidth);
    facet_op& op = s.op(FACET_OP_RMS_NORM, {value}, {s.weight_f32({kWidth, 1}, random.floats(kWidth))}, out);
    op.p.norm.segment = kWidth;
    op.p.norm.eps = 1e-6f;
    return out;
  };
  auto add = [&](uint32_t a, uint32_t b) {
    const uint32_t out = s.value(kWidth);
    s.op(FACET_OP_ADD, {a, b}, {}, out);
    return out;
  };
  const uint32_t layer = s.layer(group, 2, kHeadDim, kHeadDim), h = norm(x);
  const uint32_t q = matmul(h, FACET_TYPE_Q5_0, kWidth, kHeads * kHeadDim);
  const uint32_t rotated = s.value(kHeads * kHeadDim);
  facet_op& rope = s.op(FACET_OP_ROPE, {q}, {}, rotated);
  rope.p.rope.head_dim = rope.p.rope.n_rot = kHeadDim;
  rope.p.rope.base = 10000;
  rope.p.rope.freq_scale = 1;
  const uint32_t k = matmul(h, FACET_TYPE_Q4_0, kWidth, 2 * kHeadDim);
  const uint32_t v = matmul(h, FACET_TYPE_Q8_0, kWidth, 2 * kHeadDim);
  s.op(FACET_OP_CACHE_APPEND, {k, v}, {}, FACET_NONE).p.append.layer = layer;
  const uint32_t attended = s.value(kHeads * kHeadDim);
  facet_op& attention = s.op(FACET_OP_ATTENTION, {rotated}, {}, attended);
  attention.p.attention.layer = layer;
  attention.p.attention.heads = kHeads;
  attention.p.attention.scale = 0.2f;
  const uint32_t y = add(x, matmul(attended, FACET_TYPE_F16, kHeads * kHeadDim, kWidth));
  const uint32_t f = norm(y);
  const uint32_t gate = matmul(f, FACET_TYPE_Q4_K, kWidth, 512), up = matmul(f, FACET_TYPE_Q6_K, kWidth, 512);
  const uint32_t gated = s.value(512);
  s.op(FACET_OP_GATED, {gate, up}, {}, gated).p.gated.activation = FACET_GELU_TANH;
  return {h, add(y, matmul(gated, FACET_TYPE_Q4_K, 512, kWidth))};
}

// Two layers from an input, then logits of selected rows, capped.
struct Model {
  Sketch sketch;
  std::vector<Layer> layers;

  explicit Model(uint32_t cache_type = FACET_TYPE_F16) {
    Random random(5);
    sketch.cache_type = cache_type;
    const uint32_t group = sketch.group(64);
    uint32_t x = sketch.input("x", kWidth);
    for (int i = 0; i < 2; ++i) {
      layers.push_back(add_layer(sketch, random, group, x));
      x = layers.back().out;
    }
    const uint32_t chosen = sketch.value(kWidth, FACET_ROWS_SELECTED);
    sketch.op(FACET_OP_SELECT, {x}, {}, chosen);
    const uint32_t logits = sketch.value(9000, FACET_ROWS_SELECTED),
                   capped = sketch.value(9000, FACET_ROWS_SELECTED);
    sketch.op(FACET_OP_MATMUL, {chosen}, {sketch.weight(FACET_TYPE_Q8_0, {kWidth, 9000}, random)}, logits);
    sketch.op(FACET_OP_SOFT_CAP, {logits}, {}, capped).p.soft_cap.cap = 3;
    sketch.output("logits", capped);
    sketch.output("hidden", x);
  }
};

uint32_t matmuls_in(const Step& step) {
  return static_cast<uint32_t>(step.matmuls.size());
}

// The logits of some rows of a 70-token prompt.
std::vector<float> run(Model& model, uint32_t threads, Isa isa) {
  plugin::Description description(model.sketch.desc());
  const plugin::Layout layout = description.cache;
  Device device(threads, isa, plugin::Log());
  auto program = device.create_program(std::move(description));
  auto cache = device.create_cache(layout, {4});
  auto context = program->create_context(80, 80);
  Batch batch;
  Random random(9);
  for (int32_t position = 0; position < 70; ++position) batch.rows.push_back({.position = position});
  batch.selected = {0, 13, 69};
  batch.sequences = {{{{3, 1}}, {}}};
  batch.inputs = {random.floats(70 * kWidth)};
  Submit submit(batch, nullptr);
  const auto last = static_cast<uint32_t>(program->cuts().size()) - 1;
  context->submit(1, plugin::Slice(submit.slice(0, last), 1), cache.get());
  CHECK(context->wait(1, -1) == FACET_OK);
  std::vector<float> logits(3 * 9000);
  context->output_read(0, 0, 3, logits.data());
  return logits;
}

}  // namespace

TEST_CASE("matmuls of one input are one step, and what they read is quantised once") {
  Model model;
  const plugin::Description description(model.sketch.desc());
  const Steps steps = fuse(description);
  std::vector<uint32_t> sizes;
  uint32_t quantisations = 0;
  for (const Step& step : steps.steps) {
    if (step.kind == StepKind::kMatmul) sizes.push_back(matmuls_in(step));
    for (const RowOp& op : step.row_ops) quantisations += op.op == FACET_NONE;
  }
  CHECK(sizes == std::vector<uint32_t>{3, 1, 2, 1, 3, 1, 2, 1, 1});
  CHECK(quantisations == 2 * 3 + 1);
  // Between the feed-forward of a layer and the next layer's Q, K and V: one step of rows.
  const auto is_down = [&](const Step& step) {
    return matmuls_in(step) == 1 &&
           description.values[description.ops[step.matmuls[0].op].inputs[0]].width == 512;
  };
  auto down = std::find_if(steps.steps.begin(), steps.steps.end(), is_down);
  REQUIRE(down != steps.steps.end());
  CHECK(down[1].kind == StepKind::kRows);
  CHECK(down[1].row_ops.size() == 3);
  CHECK(matmuls_in(down[2]) == 3);
  // What only one step needs has no memory for all rows.
  CHECK(steps.slots[model.layers[0].normed].local);
  CHECK_FALSE(steps.slots[model.layers[0].out].local);
}

TEST_CASE("cuts ascend and there is one at least before and after each attention") {
  Model model;
  const plugin::Description description(model.sketch.desc());
  std::vector<uint32_t> cuts;
  for (const Step& step : fuse(description).steps) {
    if (step.cut != 0) cuts.push_back(step.cut);
  }
  CHECK(std::is_sorted(cuts.begin(), cuts.end()));
  CHECK(cuts.back() == description.ops.size());
  for (uint32_t op = 0; op < description.ops.size(); ++op) {
    if (description.ops[op].kind != FACET_OP_ATTENTION) continue;
    CHECK(std::count(cuts.begin(), cuts.end(), op) == 1);
    CHECK(std::count(cuts.begin(), cuts.end(), op + 1) == 1);
  }
}

TEST_CASE("values that are needed at the same time do not share memory") {
  Model model;
  const Steps steps = fuse(plugin::Description(model.sketch.desc()));
  const Arena arena = plan(steps, 33, 5);
  size_t sum = 0;
  for (size_t a = 0; a < steps.slots.size(); ++a) {
    const Slot& first = steps.slots[a];
    if (first.local) continue;
    auto end = [&](size_t i) {
      return arena.offsets[i] + steps.slots[i].row_bytes * (steps.slots[i].rows == FACET_ROWS_BATCH ? 33 : 5);
    };
    sum += end(a) - arena.offsets[a];
    CHECK(end(a) <= arena.bytes);
    for (size_t b = 0; b < a; ++b) {
      const Slot& second = steps.slots[b];
      if (second.local || first.first_step > second.last_step || second.first_step > first.last_step)
        continue;
      CAPTURE(a);
      CAPTURE(b);
      REQUIRE((end(a) <= arena.offsets[b] || end(b) <= arena.offsets[a]));
    }
  }
  CHECK(arena.bytes < sum / 2);
}

TEST_CASE("threads and instruction sets do not change a bit of a run") {
  for (uint32_t type : {FACET_TYPE_F32, FACET_TYPE_F16, FACET_TYPE_Q8_0}) {
    Model model(type);
    const std::vector<float> want = run(model, 1, Isa::kPortable);
    CHECK(*std::max_element(want.begin(), want.end()) > 0.1f);
    for (Isa isa : kIsas) {
      if (!isa_available(isa)) continue;
      for (uint32_t threads : {1u, 2u, 3u, 7u}) {
        CAPTURE(isa_name(isa));
        CAPTURE(threads);
        CHECK(run(model, threads, isa) == want);
      }
    }
  }
}

TEST_CASE("oneDNN computes float32 tiles; where its rows are not equal it is not used") {
  constexpr uint32_t width = 640, outputs = 64, rows = 5;
  Random random(3);
  const std::vector<float> w = random.floats(width * outputs), x = random.floats(width * rows);
  std::vector<float> out(rows * (outputs + 6), 7.0f);
  MatmulTile tile{};
  tile.type = FACET_TYPE_F32;
  tile.width = width;
  tile.weights = reinterpret_cast<const uint8_t*>(w.data());
  tile.acts = reinterpret_cast<const std::byte*>(x.data());
  tile.rows = rows;
  tile.outputs = outputs;
  tile.out = out.data();
  tile.out_stride = outputs + 6;
  Dense dense(2);
  dense.matmul(1, tile);
  for (uint32_t r = 0; r < rows; ++r) {
    for (uint32_t c = 0; c < outputs; ++c) {
      double want = 0;
      for (uint32_t i = 0; i < width; ++i) want += double{w[c * width + i]} * double{x[r * width + i]};
      REQUIRE(out[r * tile.out_stride + c] == doctest::Approx(want).epsilon(1e-4).scale(1));
    }
    for (uint32_t c = outputs; c < tile.out_stride; ++c) REQUIRE(out[r * tile.out_stride + c] == 7.0f);
  }
  Device device(1, choose_isa(nullptr), plugin::Log());
  const bool used = std::string(device.numerics()) != "cpu/2";
  CHECK(used == (device.dense() != nullptr));
  if (used) {
    CHECK(Dense(1).rows_are_equal());
    for (uint32_t r = 0; r < rows; ++r) {  // alone and without room between rows
      std::vector<float> alone(outputs);
      tile.acts = reinterpret_cast<const std::byte*>(&x[r * width]);
      tile.rows = 1;
      tile.out = alone.data();
      tile.out_stride = outputs;
      dense.matmul(0, tile);
      CHECK(std::equal(alone.begin(), alone.end(), &out[r * (outputs + 6)]));
    }
  }
  CHECK(std::string(Device(1, Isa::kPortable, plugin::Log()).numerics()) == "cpu/2");
}
