// How the CPU backend compiles programs into steps, where it puts values, and that threads and instruction
// sets do not change a bit of a whole run.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "backends/onednn/device.h"
#include "backends/onednn/program.h"
#include "backends/onednn/run.h"
#include "backends/onednn/steps.h"
#include "backends/onednn/tile_size.h"
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
  uint32_t normed, normed_k, rotated_k, out;  // values
};

// Norm, Q, K and V, rotated Q, normed and rotated K, attention, its projection, gated feed-forward, each with
// its residual.
Layer add_layer(Sketch& s, Random& random, uint32_t group, uint32_t x) {
  auto matmul = [&](uint32_t value, uint32_t type, uint32_t from, uint32_t to) {
    const uint32_t out = s.value(to);
    s.op(FACET_OP_MATMUL, {value}, {s.weight(type, {from, to}, random)}, out);
    return out;
  };
  auto norm = [&](uint32_t value, uint32_t segment, uint32_t segments) {
    const uint32_t out = s.value(segment * segments);
    facet_op& op =
        s.op(FACET_OP_RMS_NORM, {value}, {s.weight_f32({segment, 1}, random.floats(segment))}, out);
    op.p.norm.segment = segment;
    op.p.norm.eps = 1e-6f;
    return out;
  };
  auto rotated = [&](uint32_t value, uint32_t heads) {
    const uint32_t out = s.value(heads * kHeadDim);
    facet_op& rope = s.op(FACET_OP_ROPE, {value}, {}, out);
    rope.p.rope.head_dim = rope.p.rope.n_rot = kHeadDim;
    rope.p.rope.base = 10000;
    rope.p.rope.freq_scale = 1;
    return out;
  };
  auto add = [&](uint32_t a, uint32_t b) {
    const uint32_t out = s.value(kWidth);
    s.op(FACET_OP_ADD, {a, b}, {}, out);
    return out;
  };
  const uint32_t layer = s.layer(group, 2, kHeadDim, kHeadDim), h = norm(x, kWidth, 1);
  const uint32_t q = rotated(matmul(h, FACET_TYPE_Q5_0, kWidth, kHeads * kHeadDim), kHeads);
  const uint32_t normed_k = norm(matmul(h, FACET_TYPE_Q4_0, kWidth, 2 * kHeadDim), kHeadDim, 2);
  const uint32_t k = rotated(normed_k, 2);
  const uint32_t v = matmul(h, FACET_TYPE_Q8_0, kWidth, 2 * kHeadDim);
  s.op(FACET_OP_CACHE_APPEND, {k, v}, {}, FACET_NONE).p.append.layer = layer;
  const uint32_t attended = s.value(kHeads * kHeadDim);
  facet_op& attention = s.op(FACET_OP_ATTENTION, {q}, {}, attended);
  attention.p.attention.layer = layer;
  attention.p.attention.heads = kHeads;
  attention.p.attention.scale = 0.2f;
  const uint32_t y = add(x, matmul(attended, FACET_TYPE_F16, kHeads * kHeadDim, kWidth));
  const uint32_t f = norm(y, kWidth, 1);
  const uint32_t gate = matmul(f, FACET_TYPE_Q4_K, kWidth, 512), up = matmul(f, FACET_TYPE_Q6_K, kWidth, 512);
  const uint32_t gated = s.value(512);
  s.op(FACET_OP_GATED, {gate, up}, {}, gated).p.gated.activation = FACET_GELU_TANH;
  return {h, normed_k, k, add(y, matmul(gated, FACET_TYPE_Q4_K, 512, kWidth))};
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

// The sizes of groups of matmuls that may be computed in one.
std::vector<uint32_t> matmul_groups(const Steps& steps) {
  std::vector<uint32_t> sizes;
  for (const Step& step : steps.steps) {
    if (step.kind != StepKind::kMatmul) continue;
    if (!step.joins) sizes.push_back(0);
    ++sizes.back();
  }
  return sizes;
}

// The logits of some rows of a 70-token prompt, in slices of so many cuts.
std::vector<float> run(Model& model, uint32_t threads, Isa isa, uint32_t cuts = 1000) {
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
  uint64_t fence = 0;
  for (uint32_t first = 0; first < last; first += cuts) {
    context->submit(++fence, plugin::Slice(submit.slice(first, std::min(last, first + cuts)), 1),
                    cache.get());
  }
  CHECK(context->wait(fence, -1) == FACET_OK);
  std::vector<float> logits(3 * 9000);
  context->output_read(0, 0, 3, logits.data());
  return logits;
}

}  // namespace

TEST_CASE("matmuls of one input may be computed in one, and what they read is quantised once") {
  Model model;
  const plugin::Description description(model.sketch.desc());
  const Steps steps = fuse(description);
  uint32_t quantisations = 0;
  for (const Step& step : steps.steps) {
    for (const RowOp& op : step.row_ops) quantisations += op.op == FACET_NONE;
  }
  CHECK(matmul_groups(steps) == std::vector<uint32_t>{3, 1, 2, 1, 3, 1, 2, 1, 1});
  CHECK(quantisations == 2 * 3 + 1);
  // Between the feed-forward of a layer and the next layer's Q, K and V: one step of rows.
  const auto is_down = [&](const Step& step) {
    return step.kind == StepKind::kMatmul &&
           description.values[description.ops[step.matmul.op].inputs[0]].width == 512;
  };
  auto down = std::find_if(steps.steps.begin(), steps.steps.end(), is_down);
  REQUIRE(down != steps.steps.end());
  CHECK(down[1].kind == StepKind::kRows);
  CHECK(down[1].row_ops.size() == 3);
  CHECK(down[2].kind == StepKind::kMatmul);
  CHECK_FALSE(down[2].joins);
  CHECK(down[4].joins);
  // What only one step needs has no memory for all rows.
  CHECK(steps.slots[model.layers[0].normed].local);
  CHECK_FALSE(steps.slots[model.layers[0].out].local);
}

TEST_CASE("K's norm, its rotation and the append to the cache are one step, beside Q's rotation") {
  Model model;
  const plugin::Description description(model.sketch.desc());
  const Steps steps = fuse(description);
  uint32_t appends = 0;
  for (const Step& step : steps.steps) {
    std::vector<uint32_t> kinds;
    for (const RowOp& op : step.row_ops) {
      kinds.push_back(op.op == FACET_NONE ? FACET_NONE : description.ops[op.op].kind);
    }
    if (std::find(kinds.begin(), kinds.end(), FACET_OP_CACHE_APPEND) == kinds.end()) continue;
    CHECK(kinds ==
          std::vector<uint32_t>{FACET_OP_ROPE, FACET_OP_RMS_NORM, FACET_OP_ROPE, FACET_OP_CACHE_APPEND});
    ++appends;
  }
  CHECK(appends == model.layers.size());
  for (const Layer& layer : model.layers) {
    CHECK(steps.slots[layer.normed_k].local);
    CHECK(steps.slots[layer.rotated_k].local);
  }
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

TEST_CASE("a slice may end between matmuls that are computed in one otherwise, without a change of a bit") {
  Model model;
  const std::vector<float> want = run(model, 2, choose_isa(nullptr));
  CHECK(run(model, 2, choose_isa(nullptr), 1) == want);
  CHECK(run(model, 2, choose_isa(nullptr), 2) == want);
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

// Slots that the steps between a cut and the next one write.
std::vector<uint32_t> written_by(const Program& program, uint32_t cut) {
  std::vector<uint32_t> slots;
  for (uint32_t s = program.step_at(cut); s < program.step_at(cut + 1); ++s) {
    const Step& step = program.steps().steps[s];
    if (step.kind == StepKind::kMatmul) slots.push_back(step.matmul.out);
    if (step.kind == StepKind::kAttention) slots.push_back(program.description().ops[step.attention].output);
    for (const RowOp& op : step.row_ops) {
      if (op.out != FACET_NONE) slots.push_back(op.out);
    }
  }
  return slots;
}

TEST_CASE("rows that are not live are not computed, but for a few between live ones") {
  constexpr uint32_t rows = 70, died = 40;  // rows 60 to 64, too
  Model model;
  plugin::Description description(model.sketch.desc());
  const plugin::Layout layout = description.cache;
  Device device(2, choose_isa(nullptr), plugin::Log());
  const auto program = device.create_program(std::move(description));
  const auto& its = static_cast<const Program&>(*program);
  const auto cache = device.create_cache(layout, {4});
  Batch batch;
  Random random(9);
  for (int32_t row = 0; row < int32_t{rows}; ++row) batch.rows.push_back({.position = row});
  batch.selected = {0, rows - 1};
  batch.sequences = {{{{3, 1}}, {}}};
  batch.inputs = {random.floats(rows * kWidth)};
  Batch later = batch;
  for (uint32_t row = 0; row < rows; ++row) later.rows[row].live = row >= died && (row < 60 || row >= 65);
  Submit whole(batch, nullptr), rest(later, nullptr);

  const ContextMemory memory = its.memory(rows, rows);
  std::vector<std::byte> bytes(memory.bytes + 64);
  std::byte* base = bytes.data() + (64 - reinterpret_cast<uintptr_t>(bytes.data()) % 64);
  const auto run = [&](Submit& submit, uint32_t first, uint32_t end) {
    const plugin::Slice slice(submit.slice(first, end), 1);
    Run of_slice(its, memory, base, slice, static_cast<Cache*>(cache.get()));
    device.pool().run(of_slice.jobs());
  };
  const auto last = static_cast<uint32_t>(program->cuts().size()) - 1;
  uint32_t written = 0;
  for (uint32_t cut = 1; cut < last; ++cut) {
    run(whole, 0, cut);
    const std::vector<std::byte> before(base, base + memory.bytes);
    run(rest, cut, cut + 1);
    for (const uint32_t number : written_by(its, cut)) {
      const Slot& slot = its.steps().slots[number];
      if (slot.local || slot.rows != FACET_ROWS_BATCH) continue;
      CAPTURE(cut);
      CAPTURE(number);
      const size_t at = memory.values.offsets[number], dead = died * slot.row_bytes,
                   all = rows * slot.row_bytes;
      const auto same = [&](size_t first, size_t end) {
        return std::equal(base + at + first, base + at + end,
                          before.begin() + static_cast<ptrdiff_t>(at + first));
      };
      CHECK(same(0, dead));
      CHECK_FALSE(same(dead, all));
      ++written;
    }
  }
  CHECK(written > 10);
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
    CHECK(Dense(1).works());
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

TEST_CASE("a float32 weight goes to oneDNN if rows are equal in its shape, else to the kernels") {
  constexpr uint32_t kRows = 3;
  // From an input to an output, both float32.
  auto multiply = [](Isa isa, uint32_t width, uint32_t outputs, bool& by_dense) {
    Random random(11);
    Sketch sketch;
    const uint32_t x = sketch.input("x", width), out = sketch.value(outputs);
    sketch.op(FACET_OP_MATMUL, {x}, {sketch.weight(FACET_TYPE_F32, {width, outputs}, random)}, out);
    sketch.output("out", out);
    Device device(1, isa, plugin::Log());
    Program program(device, plugin::Description(sketch.desc()));
    by_dense = program.prepared(0).by_dense;
    auto context = program.create_context(kRows, 0);
    Batch batch;
    for (int32_t i = 0; i < int32_t{kRows}; ++i) batch.rows.push_back({.position = i});
    batch.sequences = {{}};
    batch.inputs = {random.floats(size_t{kRows} * width)};
    Submit submit(batch, nullptr);
    const auto last = static_cast<uint32_t>(program.cuts().size()) - 1;
    context->submit(1, plugin::Slice(submit.slice(0, last), 0), nullptr);
    CHECK(context->wait(1, -1) == FACET_OK);
    std::vector<float> got(size_t{kRows} * outputs);
    context->output_read(0, 0, kRows, got.data());
    return got;
  };
  const Isa best = choose_isa(nullptr);
  const bool has_dense = Device(1, best, plugin::Log()).dense() != nullptr;
  for (const auto& shape : {std::pair(640u, 64u), std::pair(2048u, 128u), std::pair(97u, 7u)}) {
    const uint32_t width = shape.first, outputs = shape.second;
    CAPTURE(width);
    bool by_dense = false, plain_by_dense = true;
    const std::vector<float> got = multiply(best, width, outputs, by_dense);
    const std::vector<float> plain = multiply(Isa::kPortable, width, outputs, plain_by_dense);
    CHECK(by_dense == has_dense);
    CHECK_FALSE(plain_by_dense);
    CHECK((got == plain) == !has_dense);
  }
  // No shape that is known to differ, but one that is not checked.
  bool by_dense = true;
  const uint32_t width = Dense::kMostWidth + 8;
  const std::vector<float> got = multiply(best, width, 5, by_dense);
  CHECK_FALSE(by_dense);
  CHECK(got == multiply(Isa::kPortable, width, 5, by_dense));
}

TEST_CASE("where rows count as equal they are, among as many as were not tried") {
  if (Device(1, choose_isa(nullptr), plugin::Log()).dense() == nullptr) return;
  Dense dense(1);
  Random random(13);
  for (uint32_t width : {1u, 5u, 640u, 5120u}) {
    for (uint32_t outputs : {1u, 6u, 64u}) {
      if (!dense.has_equal_rows(width, outputs)) continue;
      const uint32_t most = tile_rows(width * sizeof(float));
      const std::vector<float> w = random.floats(size_t{width} * outputs),
                               x = random.floats(size_t{width} * most);
      auto multiply = [&](uint32_t first, uint32_t rows) {
        std::vector<float> out(size_t{rows} * outputs);
        MatmulTile tile{};
        tile.type = FACET_TYPE_F32;
        tile.width = width;
        tile.weights = reinterpret_cast<const uint8_t*>(w.data());
        tile.acts = reinterpret_cast<const std::byte*>(&x[size_t{first} * width]);
        tile.rows = rows;
        tile.outputs = outputs;
        tile.out = out.data();
        tile.out_stride = outputs;
        dense.matmul(0, tile);
        return out;
      };
      const std::vector<float> all = multiply(0, most);
      for (uint32_t rows : {1u, 3u, 29u}) {
        for (uint32_t first = 0; first + rows <= most; first += rows) {
          CAPTURE(width);
          CAPTURE(outputs);
          CAPTURE(rows);
          const std::vector<float> some = multiply(first, rows);
          REQUIRE(std::equal(some.begin(), some.end(), all.begin() + first * outputs));
        }
      }
    }
  }
  CHECK_FALSE(dense.has_equal_rows(Dense::kMostWidth + 1, 64));
}
