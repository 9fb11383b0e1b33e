// One test per way in which a program or a submit can be wrong. Each starts from a good one, changes one
// thing, and expects the fault to name the place.
#include <doctest/doctest.h>
#include <facet/verify_submit.hpp>

#include <functional>
#include <limits>

#include "tests/backends/sketch.h"

using namespace facet;
using namespace facet::test;
using plugin::verify;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

enum Op {
  kEmbed,
  kNorm,
  kQuery,
  kKey,
  kRope,
  kAppend,
  kAttend,
  kOut,
  kGate,
  kAdd,
  kMul,
  kScale,
  kCap,
  kCut,
  kSelect
};

// Ops as in Op. Values: 0 hidden input, 1 embedded, ... each op's output in order.
struct Good {
  Good() {
    const uint32_t hidden = s.input("hidden", 64);
    auto next = [&](uint32_t width) { return s.value(width); };
    const uint32_t table = s.weight(FACET_TYPE_Q8_0, {64, 10}, random);
    const uint32_t norm = s.weight(FACET_TYPE_F32, {32, 1}, random);
    const uint32_t query = s.weight(FACET_TYPE_Q4_0, {64, 32}, random);
    const uint32_t key = s.weight(FACET_TYPE_F16, {64, 16}, random);
    const uint32_t factors = s.weight(FACET_TYPE_F32, {4, 1}, random);
    const uint32_t out = s.weight(FACET_TYPE_BF16, {32, 64}, random);
    const uint32_t columns = s.weight(FACET_TYPE_F32, {64, 1}, random);
    s.layer(s.group(32), 2, 8, 8);

    const uint32_t embedded = next(64);
    s.op(FACET_OP_EMBED, {}, {table}, embedded).p.embed.scale = 2;
    const uint32_t normed = next(64);
    facet_op& rms = s.op(FACET_OP_RMS_NORM, {embedded}, {norm}, normed);
    rms.p.norm.segment = 32;
    rms.p.norm.eps = 1e-6f;
    const uint32_t q = next(32);
    s.op(FACET_OP_MATMUL, {normed}, {query}, q);
    const uint32_t k = next(16);
    s.op(FACET_OP_MATMUL, {normed}, {key}, k);
    const uint32_t rotated = next(32);
    facet_op& rope = s.op(FACET_OP_ROPE, {q}, {factors}, rotated);
    rope.p.rope.head_dim = rope.p.rope.n_rot = 8;
    rope.p.rope.base = 10000;
    rope.p.rope.freq_scale = 1;
    s.op(FACET_OP_CACHE_APPEND, {k, k}, {}, FACET_NONE).p.append.layer = 0;
    const uint32_t attended = next(32);
    facet_op& attention = s.op(FACET_OP_ATTENTION, {rotated}, {}, attended);
    attention.p.attention.layer = 0;
    attention.p.attention.heads = 4;
    attention.p.attention.window = 20;
    attention.p.attention.scale = 1;
    const uint32_t projected = next(64);
    s.op(FACET_OP_MATMUL, {attended}, {out}, projected);
    const uint32_t gated = next(64);
    s.op(FACET_OP_GATED, {projected, hidden}, {}, gated).p.gated.activation = FACET_GELU_TANH;
    const uint32_t added = next(64);
    s.op(FACET_OP_ADD, {gated, embedded}, {}, added);
    const uint32_t multiplied = next(64);
    s.op(FACET_OP_MUL, {added, hidden}, {}, multiplied);
    const uint32_t scaled = next(64);
    s.op(FACET_OP_SCALE, {multiplied}, {columns}, scaled).p.scale.factor = 0.5f;
    const uint32_t capped = next(64);
    s.op(FACET_OP_SOFT_CAP, {scaled}, {}, capped).p.soft_cap.cap = 30;
    const uint32_t cut = next(10);
    s.op(FACET_OP_COLUMNS, {capped}, {}, cut).p.columns.first = 54;
    const uint32_t selected = s.value(10, FACET_ROWS_SELECTED);
    s.op(FACET_OP_SELECT, {cut}, {}, selected);
    s.output("logits", selected);
    s.output("hidden", capped);
  }
  facet_op& op(Op number) { return s.ops[number]; }

  Random random{1};
  Sketch s;
};

using Change = std::function<void(Good&)>;
struct Wrong {
  const char* where;  // the fault holds both
  const char* what;
  Change change;
};

void check_each(const std::vector<Wrong>& wrongs) {
  for (const Wrong& wrong : wrongs) {
    CAPTURE(wrong.where);
    CAPTURE(wrong.what);
    Good good;
    wrong.change(good);
    const plugin::Fault fault = verify(good.s.desc());
    REQUIRE(fault.has_value());
    CAPTURE(*fault);
    CHECK(fault->find(wrong.where) != std::string::npos);
    CHECK(fault->find(wrong.what) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("a good program has no fault") {
  Good good;
  const plugin::Fault fault = verify(good.s.desc());
  if (fault) FAIL(*fault);
  REQUIRE(good.s.ops.size() == kSelect + 1);
  for (uint32_t i = 0; i < good.s.ops.size(); ++i) CHECK(good.s.ops[i].size == sizeof(facet_op));

  SUBCASE("a program may read a cache layer that another one writes") {
    good.s.ops.erase(good.s.ops.begin() + kAppend);
    good.s.output("key", good.op(kKey).output);
    CHECK(!verify(good.s.desc()));
  }
}

TEST_CASE("an op's indices") {
  check_each({
      {"op 2 (", "kind 99 is unknown", [](Good& g) { g.op(kQuery).kind = 99; }},
      {"op 2 (", "kind 0 is unknown", [](Good& g) { g.op(kQuery).kind = 0; }},
      {"op 2 (matmul)", "no value 77", [](Good& g) { g.op(kQuery).inputs[0] = 77; }},
      {"op 2 (matmul)", "no value 4294967295", [](Good& g) { g.op(kQuery).inputs[0] = FACET_NONE; }},
      {"op 2 (matmul)", "input 1 is not FACET_NONE", [](Good& g) { g.op(kQuery).inputs[1] = 0; }},
      {"op 9 (add)", "no value 4294967295", [](Good& g) { g.op(kAdd).inputs[1] = FACET_NONE; }},
      {"op 2 (matmul)", "weight 0 is missing", [](Good& g) { g.op(kQuery).weights[0] = FACET_NONE; }},
      {"op 2 (matmul)", "no weight 50", [](Good& g) { g.op(kQuery).weights[0] = 50; }},
      {"op 9 (add)", "weight 0 is not FACET_NONE", [](Good& g) { g.op(kAdd).weights[0] = 0; }},
      {"op 0 (embed)", "input 0 is not FACET_NONE", [](Good& g) { g.op(kEmbed).inputs[0] = 0; }},
      {"op 2 (matmul)", "no value 4294967295 for its output",
       [](Good& g) { g.op(kQuery).output = FACET_NONE; }},
      {"op 5 (cache_append)", "output is not FACET_NONE", [](Good& g) { g.op(kAppend).output = 3; }},
  });
}

TEST_CASE("an op's widths and kinds of rows") {
  auto width = [](Op op, uint32_t width) {
    return [op, width](Good& g) { g.s.values[g.op(op).output].width = width; };
  };
  auto selected = [](Op op) {
    return [op](Good& g) { g.s.values[g.op(op).output].rows = FACET_ROWS_SELECTED; };
  };
  check_each({
      {"op 0 (embed)", "weight.0", width(kEmbed, 32)},
      {"op 0 (embed)", "batch rows only", selected(kEmbed)},
      {"op 1 (rms_norm)", "width of 64", width(kNorm, 32)},
      {"op 2 (matmul)", "weight.2 is [64, 32, 1, 1], not [64, 33", width(kQuery, 33)},
      {"op 2 (matmul)", "different kinds of rows", selected(kQuery)},
      {"op 4 (rope)", "width", width(kRope, 40)},
      {"op 5 (cache_append)", "a width of 32 where 16",
       [](Good& g) { g.op(kAppend).inputs[0] = g.op(kQuery).output; }},
      {"op 6 (attention)", "a width of 16 where 32", width(kAttend, 16)},
      {"op 8 (gated)", "width", [](Good& g) { g.op(kGate).inputs[1] = g.op(kQuery).output; }},
      {"op 9 (add)", "width", [](Good& g) { g.op(kAdd).inputs[1] = g.op(kQuery).output; }},
      {"op 10 (mul)", "width", [](Good& g) { g.op(kMul).inputs[0] = g.op(kQuery).output; }},
      {"op 13 (columns)", "columns 54 to 65", width(kCut, 11)},
      {"op 13 (columns)", "columns 4294967295", [](Good& g) { g.op(kCut).p.columns.first = UINT32_MAX; }},
      {"op 14 (select)", "width", width(kSelect, 9)},
      {"op 14 (select)", "from batch rows",
       [](Good& g) { g.s.values[g.op(kSelect).output].rows = FACET_ROWS_BATCH; }},
      {"value 4", "width is 0", [](Good& g) { g.s.values[4].width = 0; }},
      {"value 4", "its width is 16777217", [](Good& g) { g.s.values[4].width = (1u << 24) + 1; }},
      {"value 4", "rows 2 is unknown", [](Good& g) { g.s.values[4].rows = 2; }},
  });
}

TEST_CASE("an op's parameters") {
  check_each({
      {"op 0 (embed)", "scale is not finite", [](Good& g) { g.op(kEmbed).p.embed.scale = kNan; }},
      {"op 1 (rms_norm)", "segment 0", [](Good& g) { g.op(kNorm).p.norm.segment = 0; }},
      {"op 1 (rms_norm)", "segment 24", [](Good& g) { g.op(kNorm).p.norm.segment = 24; }},
      {"op 1 (rms_norm)", "weight.1", [](Good& g) { g.op(kNorm).p.norm.segment = 64; }},
      {"op 1 (rms_norm)", "eps", [](Good& g) { g.op(kNorm).p.norm.eps = -1; }},
      {"op 1 (rms_norm)", "eps", [](Good& g) { g.op(kNorm).p.norm.eps = kInfinity; }},
      {"op 4 (rope)", "head_dim 0", [](Good& g) { g.op(kRope).p.rope.head_dim = 0; }},
      {"op 4 (rope)", "head_dim 12", [](Good& g) { g.op(kRope).p.rope.head_dim = 12; }},
      {"op 4 (rope)", "n_rot 7", [](Good& g) { g.op(kRope).p.rope.n_rot = 7; }},
      {"op 4 (rope)", "n_rot 10", [](Good& g) { g.op(kRope).p.rope.n_rot = 10; }},
      {"op 4 (rope)", "n_rot 0", [](Good& g) { g.op(kRope).p.rope.n_rot = 0; }},
      {"op 4 (rope)", "weight.4", [](Good& g) { g.op(kRope).p.rope.n_rot = 4; }},
      {"op 4 (rope)", "base", [](Good& g) { g.op(kRope).p.rope.base = 0; }},
      {"op 4 (rope)", "freq_scale", [](Good& g) { g.op(kRope).p.rope.freq_scale = kNan; }},
      {"op 5 (cache_append)", "no cache layer 1", [](Good& g) { g.op(kAppend).p.append.layer = 1; }},
      {"op 6 (attention)", "no cache layer 9", [](Good& g) { g.op(kAttend).p.attention.layer = 9; }},
      {"op 6 (attention)", "3 heads", [](Good& g) { g.op(kAttend).p.attention.heads = 3; }},
      {"op 6 (attention)", "0 heads", [](Good& g) { g.op(kAttend).p.attention.heads = 0; }},
      {"op 6 (attention)", "where 64 is needed", [](Good& g) { g.op(kAttend).p.attention.heads = 8; }},
      {"op 6 (attention)", "scale", [](Good& g) { g.op(kAttend).p.attention.scale = kInfinity; }},
      {"op 8 (gated)", "activation 7", [](Good& g) { g.op(kGate).p.gated.activation = 7; }},
      {"op 11 (scale)", "factor", [](Good& g) { g.op(kScale).p.scale.factor = kNan; }},
      {"op 11 (scale)", "weight.1", [](Good& g) { g.op(kScale).weights[0] = 1; }},
      {"op 12 (soft_cap)", "cap", [](Good& g) { g.op(kCap).p.soft_cap.cap = 0; }},
  });
}

namespace {

// A mixture of 3 experts, 2 used: values 0 x, 1 logits, 2 routes, 3 mixed, 4 x and mixed joined.
struct Mixture {
  Mixture() {
    const uint32_t x = s.input("x", 64), logits = s.input("logits", 3);
    const uint32_t gate = s.weight(FACET_TYPE_Q4_0, {64, 32, 3}, random);
    const uint32_t down = s.weight(FACET_TYPE_Q8_0, {32, 64, 3}, random);
    const uint32_t up = s.weight(FACET_TYPE_F16, {64, 32, 3}, random);
    const uint32_t factors = s.weight(FACET_TYPE_F32, {3}, random);
    const uint32_t routes = s.value(3), mixed = s.value(64), joined = s.value(128);
    s.op(FACET_OP_ROUTE, {logits}, {}, routes).p.route.used = 2;
    s.op(FACET_OP_EXPERTS, {x, routes}, {gate, down, up, factors}, mixed).p.experts.activation =
        FACET_GELU_TANH;
    s.op(FACET_OP_CONCAT, {x, mixed}, {}, joined);
    s.output("joined", joined);
  }
  Random random{1};
  Sketch s;
};

}  // namespace

TEST_CASE("mixtures of experts") {
  CHECK(!verify(Mixture().s.desc()));
  const std::vector<std::pair<const char*, std::function<void(Sketch&)>>> wrongs{
      {"op 0 (route): it uses 0 of 3 experts", [](Sketch& s) { s.ops[0].p.route.used = 0; }},
      {"op 0 (route): it uses 4 of 3 experts", [](Sketch& s) { s.ops[0].p.route.used = 4; }},
      {"op 0 (route): a width of 64", [](Sketch& s) { s.ops[0].inputs[0] = 0; }},
      {"op 1 (experts): value 1 is not the output of a route", [](Sketch& s) { s.ops[1].inputs[1] = 1; }},
      {"op 1 (experts): activation 9", [](Sketch& s) { s.ops[1].p.experts.activation = 9; }},
      {"op 1 (experts): weight weight.0 is [64, 32, 3, 1], not [64, 64, 3, 1]",
       [](Sketch& s) { s.ops[1].weights[2] = FACET_NONE; }},
      {"op 1 (experts): weight 1 is missing", [](Sketch& s) { s.ops[1].weights[1] = FACET_NONE; }},
      {"op 1 (experts): weight weight.1 is [32, 64, 3, 1], not [64, 32, 3, 1]",
       [](Sketch& s) { s.ops[1].weights[2] = 1; }},
      {"op 1 (experts): weight weight.3 is [3, 1, 1, 1], not [2, 1, 1, 1]",
       [](Sketch& s) {
         s.values[1].width = s.values[2].width = 2;
         for (uint32_t weight : {0, 1, 2}) {
           s.weights[weight].dims[2] = 2;
           s.weights[weight].bytes = s.weights[weight].bytes / 3 * 2;
         }
       }},
      {"op 1 (experts): weight weight.1 is [32, 64, 3, 1], not [32, 63, 3, 1]",
       [](Sketch& s) { s.values[3].width = 63; }},
      {"op 2 (concat): a width of 127 where 128", [](Sketch& s) { s.values[4].width = 127; }},
  };
  for (const auto& [wrong, change] : wrongs) {
    const auto& what = wrong;  // clang 14 lets no lambda, as CAPTURE is one, see a binding
    CAPTURE(what);
    Mixture mixture;
    change(mixture.s);
    const plugin::Fault fault = verify(mixture.s.desc());
    REQUIRE(fault.has_value());
    CAPTURE(*fault);
    CHECK(fault->find(what) != std::string::npos);
  }
}

TEST_CASE("weights") {
  auto weight = [](std::function<void(facet_weight&)> change) {
    return [change](Good& g) { change(g.s.weights[2]); };
  };
  check_each({
      {"weight.2", "type 4 is unknown", weight([](facet_weight& w) { w.type = 4; })},
      {"weight.2", "access 5 is unknown", weight([](facet_weight& w) { w.access = 5; })},
      {"weight.2", "dimension 1 is 0", weight([](facet_weight& w) { w.dims[1] = 0; })},
      {"weight.2", "dimension 3 is 0", weight([](facet_weight& w) { w.dims[3] = 0; })},
      {"weight.2", "not whole blocks of Q4_0", weight([](facet_weight& w) { w.dims[0] = 48; })},
      {"weight.2", "its dimensions need", weight([](facet_weight& w) { w.bytes += 1; })},
      {"weight.2", "dimension 0 is 4294967296", weight([](facet_weight& w) { w.dims[0] = 1ull << 32; })},
      {"weight.2", "overflow",
       weight([](facet_weight& w) { w.dims[1] = w.dims[2] = w.dims[3] = UINT32_MAX; })},
      {"weight.2", "overflow", weight([](facet_weight& w) { w.dims[1] = w.dims[2] = UINT32_MAX; })},
      {"weight.2", "NULL", weight([](facet_weight& w) { w.data = nullptr; })},
      {"weight.2", "aligned",
       weight([](facet_weight& w) { w.data = static_cast<const std::byte*>(w.data) + 16; })},
      {"a weight", "no name", weight([](facet_weight& w) { w.name = nullptr; })},
  });
}

TEST_CASE("the order of ops, ports and the cache's layout") {
  check_each({
      {"op 9 (add)", "value 9 is read before it is written",
       [](Good& g) { g.op(kAdd).inputs[0] = g.op(kAdd).output; }},
      {"op 1 (rms_norm)", "value 1 is already written", [](Good& g) { g.op(kNorm).output = 1; }},
      {"op 0 (embed)", "value 0 is already written", [](Good& g) { g.op(kEmbed).output = 0; }},
      {"value 15", "never written", [](Good& g) { g.s.value(3); }},
      {"op 6 (cache_append)", "was read before", [](Good& g) { std::swap(g.op(kAppend), g.op(kAttend)); }},
      {"op 6 (cache_append)", "is already written",
       [](Good& g) { g.s.ops.insert(g.s.ops.begin() + kAttend, g.op(kAppend)); }},
      {"input 0 (hidden)", "no value 99", [](Good& g) { g.s.inputs[0].value = 99; }},
      {"output 1 (hidden)", "no value 99", [](Good& g) { g.s.outputs[1].value = 99; }},
      {"an output", "no name", [](Good& g) { g.s.outputs[1].name = nullptr; }},
      {"outputs 0 and 1", "same name", [](Good& g) { g.s.outputs[1].name = g.s.outputs[0].name; }},
      {"op 5 (cache_append)", "no cache", [](Good& g) { g.s.layers.clear(); }},
      {"cache layout", "type 2 is none of", [](Good& g) { g.s.cache_type = FACET_TYPE_Q4_0; }},
      {"cache layout", "type 77", [](Good& g) { g.s.cache_type = 77; }},
      {"cache layer 0", "heads of 8 elements are not whole blocks of Q8_0",
       [](Good& g) { g.s.cache_type = FACET_TYPE_Q8_0; }},
      {"cache layout", "no groups", [](Good& g) { g.s.groups.clear(); }},
      {"cache group 0", "48 positions", [](Good& g) { g.s.groups[0].page_positions = 48; }},
      {"cache layer 0", "no group 3", [](Good& g) { g.s.layers[0].group = 3; }},
      {"cache layer 0", "0 heads", [](Good& g) { g.s.layers[0].kv_heads = 0; }},
      {"cache layer 0", "65536 elements",
       [](Good& g) {
         g.s.layers[0] = {sizeof(facet_cache_layer), 0, 65536, 65536, 8};
       }},
      {"17 cache groups", "more than 16", [](Good& g) { g.s.groups.resize(17, g.s.groups[0]); }},
      {"the program", "no ops", [](Good& g) { g.s.ops.clear(); }},
  });

  Good good;
  facet_program_desc desc = good.s.desc();
  desc.op_count = UINT32_MAX;
  CHECK(verify(desc)->find("4294967295 ops") != std::string::npos);
  desc = good.s.desc();
  desc.values = nullptr;
  CHECK(verify(desc)->find("values are NULL") != std::string::npos);
  desc.size = 3;
  CHECK(verify(desc)->find("size is 3") != std::string::npos);
}

TEST_CASE("structs of other sizes: what is missing is zero, what is too much is not read") {
  Good good;
  facet_program_desc desc = good.s.desc();
  // A description from before outputs and caches existed.
  desc.size = offsetof(facet_program_desc, outputs);
  CHECK(verify(desc)->find("outputs are NULL") != std::string::npos);

  // A newer host: every value is longer than ours.
  struct LongValue {
    facet_value value;
    uint64_t more[3];
  };
  std::vector<LongValue> values;
  for (const facet_value& value : good.s.values) values.push_back({value, {~0ull, ~0ull, ~0ull}});
  for (LongValue& value : values) value.value.size = sizeof(LongValue);
  desc = good.s.desc();
  desc.values = &values[0].value;
  CHECK(!verify(desc));
}

namespace {

struct Run {
  Run() : rules(plugin::Description(good.s.desc()), 16, 4, 2) {
    batch.rows = {{.token = 3, .position = 30}, {.token = 9, .position = 31}, {.token = 0, .position = 32}};
    batch.selected = {0, 2};
    batch.sequences = {{{{1, 0}}, {}}};
    batch.inputs = {std::vector<float>(3 * 64)};
  }
  plugin::Fault fault(const std::function<void(Submit&)>& change = {}) {
    int cache = 0;  // its address only
    Submit submit(batch, reinterpret_cast<facet_cache*>(&cache));
    submit.slice(0, 15);
    if (change) change(submit);
    return verify(submit.submit, rules, {2});
  }

  Good good;
  plugin::RunRules rules;
  Batch batch;
};

}  // namespace

TEST_CASE("a good submit has no fault, and each bad one is named") {
  CHECK(!Run().fault());
  struct Wrong {
    const char* what;
    std::function<void(Batch&)> batch;
    std::function<void(Submit&)> submit;
  };
  const std::vector<Wrong> wrongs = {
      {"cuts 3 to 3", {}, [](Submit& s) { s.slice(3, 3); }},
      {"cuts 0 to 16", {}, [](Submit& s) { s.slice(0, 16); }},
      {"no cache", {}, [](Submit& s) { s.submit.cache = nullptr; }},
      {"no rows", {}, [](Submit& s) { s.submit.rows = nullptr; }},
      {"no rows", {}, [](Submit& s) { s.rows.count = 0; }},
      {"tokens are NULL", {}, [](Submit& s) { s.rows.tokens = nullptr; }},
      {"positions are NULL", {}, [](Submit& s) { s.rows.positions = nullptr; }},
      {"last_visible are NULL", {}, [](Submit& s) { s.rows.last_visible = nullptr; }},
      {"sequences are NULL", {}, [](Submit& s) { s.rows.sequences = nullptr; }},
      {"flags are NULL", {}, [](Submit& s) { s.rows.flags = nullptr; }},
      {"selected are NULL", {}, [](Submit& s) { s.rows.selected = nullptr; }},
      {"page tables are NULL", {}, [](Submit& s) { s.submit.tables = nullptr; }},
      {"pages are NULL", {}, [](Submit& s) { s.tables[0].pages = nullptr; }},
      {"sequences are too many", {}, [](Submit& s) { s.submit.sequence_count = UINT32_MAX; }},
      {"row 1: flags 6", {}, [](Submit& s) { s.flags[1] = 6; }},
      {"5 rows", [](Batch& b) { b.rows.resize(5); }, {}},
      {"3 selected rows",
       [](Batch& b) {
         b.selected = {0, 1, 2};
       },
       {}},
      {"selected row 3",
       [](Batch& b) {
         b.selected = {0, 3};
       },
       {}},
      {"not ascending",
       [](Batch& b) {
         b.selected = {2, 1};
       },
       {}},
      {"not ascending",
       [](Batch& b) {
         b.selected = {1, 1};
       },
       {}},
      {"row 1: token 10", [](Batch& b) { b.rows[1].token = 10; }, {}},
      {"row 1: its embedding", [](Batch& b) { b.rows[1].token = -1; }, {}},
      {"row 1: position -4", [](Batch& b) { b.rows[1].position = -4; }, {}},
      {"row 1: there is no sequence 1", [](Batch& b) { b.rows[1].sequence = 1; }, {}},
      {"page 2 is beyond", [](Batch& b) { b.sequences[0].pages[0][1] = 2; }, {}},
      {"row 2: position 32 has no page", [](Batch& b) { b.sequences[0].pages[0].pop_back(); }, {}},
      {"row 0: position 30 has no page", [](Batch& b) { b.sequences[0].first_block = {1}; }, {}},
      {"row 1: it sees positions 12 to 70", [](Batch& b) { b.rows[1].last_visible = 70; }, {}},
      {"row 2: it sees no position", [](Batch& b) { b.rows[2].last_visible = 12; }, {}},
      {"two live rows have position 30", [](Batch& b) { b.rows[2].position = 30; }, {}},
      {"input 0 is missing", [](Batch& b) { b.inputs.clear(); }, {}},
      {"no input 1", [](Batch& b) { b.inputs.emplace_back(9); }, {}},
      {"input 0: its data is NULL", {}, [](Submit& s) { s.inputs[0].data = nullptr; }},
      {"input 0 is given twice",
       {},
       [](Submit& s) {
         s.inputs.push_back(s.inputs[0]);
         s.slice(0, 15);
       }},
  };
  for (const Wrong& wrong : wrongs) {
    CAPTURE(wrong.what);
    Run run;
    if (wrong.batch) wrong.batch(run.batch);
    const plugin::Fault fault = run.fault(wrong.submit);
    REQUIRE(fault.has_value());
    CAPTURE(*fault);
    CHECK(fault->find(wrong.what) != std::string::npos);
  }
}

TEST_CASE("rows that are not live need no pages, and later slices no inputs") {
  Run run;
  run.batch.rows[2] = {.token = 0, .position = 31, .live = false};
  run.batch.rows.push_back({.token = 0, .position = 1'000'000, .live = false});
  CHECK(!run.fault());
  run.batch.inputs.clear();
  CHECK(!run.fault([](Submit& s) { s.slice(1, 15); }));
}
