// What a backend promises about whole runs, on a small transformer with every kind of op: the same bits
// however a run is cut, batched or placed, and refusals that leave everything as it was.
#include <doctest/doctest.h>
#include <malloc.h>

#include <numeric>
#include <optional>

#include "tests/backends/sketch.h"

using namespace facet;
using namespace facet::test;

namespace {

constexpr uint32_t kWidth = 256, kHeads = 4, kKvHeads = 2, kHeadDim = 32, kVocabulary = 50, kWindow = 40;
constexpr uint32_t kSliding = 0, kGlobal = 1;  // groups, with pages of 32 and 64 positions

// A layer as in Gemma: norms before and after, rotated heads, gated feed-forward.
uint32_t add_layer(Sketch& s, Random& random, uint32_t x, uint32_t group, uint32_t window) {
  auto norm = [&](uint32_t value, uint32_t width, uint32_t segment) {
    const uint32_t out = s.value(width);
    facet_op& op = s.op(FACET_OP_RMS_NORM, {value},
                        {s.weight_f32({segment, 1}, random.floats(segment, 0.5f, 1.5f))}, out);
    op.p.norm.segment = segment;
    op.p.norm.eps = 1e-6f;
    return out;
  };
  auto matmul = [&](uint32_t value, uint32_t type, uint32_t from, uint32_t to) {
    const uint32_t out = s.value(to);
    s.op(FACET_OP_MATMUL, {value}, {s.weight(type, {from, to}, random)}, out);
    return out;
  };
  auto rotated = [&](uint32_t value, uint32_t heads) {
    const uint32_t normed = norm(value, heads * kHeadDim, kHeadDim), out = s.value(heads * kHeadDim);
    facet_op& op = s.op(FACET_OP_ROPE, {normed}, {}, out);
    op.p.rope.head_dim = op.p.rope.n_rot = kHeadDim;
    op.p.rope.base = 10000;
    op.p.rope.freq_scale = 1;
    return out;
  };
  auto add = [&](uint32_t a, uint32_t b) {
    const uint32_t out = s.value(kWidth);
    s.op(FACET_OP_ADD, {a, b}, {}, out);
    return out;
  };

  const uint32_t layer = s.layer(group, kKvHeads, kHeadDim, kHeadDim), h = norm(x, kWidth, kWidth);
  const uint32_t q = rotated(matmul(h, FACET_TYPE_Q4_K, kWidth, kHeads * kHeadDim), kHeads);
  const uint32_t k = rotated(matmul(h, FACET_TYPE_Q6_K, kWidth, kKvHeads * kHeadDim), kKvHeads);
  const uint32_t v = matmul(h, FACET_TYPE_F32, kWidth, kKvHeads * kHeadDim);
  s.op(FACET_OP_CACHE_APPEND, {k, v}, {}, FACET_NONE).p.append.layer = layer;
  const uint32_t attended = s.value(kHeads * kHeadDim);
  facet_op& attention = s.op(FACET_OP_ATTENTION, {q}, {}, attended);
  attention.p.attention.layer = layer;
  attention.p.attention.heads = kHeads;
  attention.p.attention.window = window;
  attention.p.attention.scale = 0.2f;
  const uint32_t y =
      add(x, norm(matmul(attended, FACET_TYPE_Q8_0, kHeads * kHeadDim, kWidth), kWidth, kWidth));

  const uint32_t f = norm(y, kWidth, kWidth), gated = s.value(kWidth);
  const uint32_t gate = matmul(f, FACET_TYPE_Q5_0, kWidth, kWidth),
                 up = matmul(f, FACET_TYPE_F16, kWidth, kWidth);
  s.op(FACET_OP_GATED, {gate, up}, {}, gated).p.gated.activation = FACET_GELU_TANH;
  return add(y, norm(matmul(gated, FACET_TYPE_Q4_0, kWidth, kWidth), kWidth, kWidth));
}

// Outputs: 0 logits of selected rows, 1 the embedded rows.
void toy(Sketch& s, uint32_t cache_type) {
  Random random(7);
  s.group(32);
  s.group(64);
  s.cache_type = cache_type;
  const uint32_t table = s.weight(FACET_TYPE_Q8_0, {kWidth, kVocabulary}, random), embedded = s.value(kWidth);
  s.op(FACET_OP_EMBED, {}, {table}, embedded).p.embed.scale = 16;
  const uint32_t x = add_layer(s, random, add_layer(s, random, embedded, kSliding, kWindow), kGlobal, 0);
  const uint32_t last = s.value(kWidth, FACET_ROWS_SELECTED), raw = s.value(kVocabulary, FACET_ROWS_SELECTED),
                 logits = s.value(kVocabulary, FACET_ROWS_SELECTED);
  s.op(FACET_OP_SELECT, {x}, {}, last);
  s.op(FACET_OP_MATMUL, {last}, {table}, raw);
  s.op(FACET_OP_SOFT_CAP, {raw}, {}, logits).p.soft_cap.cap = 30;
  s.output("logits", logits);
  s.output("embedded", embedded);
}

int32_t token_at(uint32_t sequence, int32_t position) {
  return static_cast<int32_t>((static_cast<uint32_t>(position) * 7 + sequence * 13 + 3) % kVocabulary);
}

// Positions [first, end) of the sequence, which is number `index` of the batch; all rows selected.
void add_rows(Batch& batch, uint32_t sequence, uint32_t index, int32_t first, int32_t end) {
  for (int32_t position = first; position < end; ++position) {
    batch.selected.push_back(static_cast<uint32_t>(batch.rows.size()));
    batch.rows.push_back({.token = token_at(sequence, position), .position = position, .sequence = index});
  }
}

// Pages enough for 128 positions, of sequences 0, 1, 2: apart from each other and not in order.
Pages pages_of(uint32_t sequence) {
  const uint32_t a = 4 * sequence, b = 2 * sequence;
  return {{{a + 2, a, a + 3, a + 1}, {b + 1, b}}, {}};
}
const std::vector<uint32_t> kPages = {16, 8};

Batch prompt(uint32_t sequence, int32_t first, int32_t end) {
  Batch batch;
  add_rows(batch, sequence, 0, first, end);
  batch.sequences = {pages_of(sequence)};
  return batch;
}

std::vector<float> part(const std::vector<float>& logits, size_t first, size_t rows) {
  const auto from = logits.begin() + static_cast<ptrdiff_t>(first * kVocabulary);
  return {from, from + static_cast<ptrdiff_t>(rows * kVocabulary)};
}

struct Toy {
  explicit Toy(uint32_t cache_type = FACET_TYPE_F16, uint32_t max_rows = 128) {
    toy(sketch, cache_type);
    rig.emplace(sketch, kPages, max_rows);
  }
  Rig* operator->() { return &*rig; }
  Sketch sketch;
  std::optional<Rig> rig;
};

}  // namespace

TEST_CASE("logits and cache do not depend on how a prompt is chunked or a run is cut") {
  for (uint32_t type : {FACET_TYPE_F32, FACET_TYPE_F16, FACET_TYPE_Q8_0}) {
    Toy whole(type);
    const std::vector<float> want = whole->run(prompt(0, 0, 100));
    for (int32_t chunk : {1, 7, 64}) {
      for (uint32_t cuts : {0u, 1u, 3u}) {
        if (chunk == 1 && cuts == 3) continue;
        CAPTURE(chunk);
        CAPTURE(cuts);
        Toy toy(type, static_cast<uint32_t>(chunk));
        std::vector<float> got;
        for (int32_t first = 0; first < 100; first += chunk) {
          for (float value : toy->run(prompt(0, first, std::min(100, first + chunk)), cuts))
            got.push_back(value);
        }
        CHECK(got == want);
        for (uint32_t page : {0u, 1u, 2u, 3u})
          CHECK(toy->page(kSliding, page) == whole->page(kSliding, page));
        for (uint32_t page : {0u, 1u}) CHECK(toy->page(kGlobal, page) == whole->page(kGlobal, page));
      }
    }
  }
}

TEST_CASE("a sequence's logits do not depend on what shares its batch") {
  Toy alone;
  std::vector<std::vector<float>> want;
  for (uint32_t sequence : {0u, 1u, 2u})
    want.push_back(alone->run(prompt(sequence, 0, 30 + 9 * static_cast<int32_t>(sequence))));

  Toy together;
  Batch batch;
  add_rows(batch, 2, 0, 0, 48);
  add_rows(batch, 0, 1, 0, 30);
  add_rows(batch, 1, 2, 0, 39);
  batch.sequences = {pages_of(2), pages_of(0), pages_of(1)};
  const std::vector<float> got = together->run(batch);
  CHECK(part(got, 0, 48) == want[2]);
  CHECK(part(got, 48, 30) == want[0]);
  CHECK(part(got, 78, 39) == want[1]);

  // The next token of each: rows of different lengths side by side.
  want.clear();
  Batch next;
  for (uint32_t sequence : {0u, 1u, 2u}) {
    const int32_t at = 30 + 9 * static_cast<int32_t>(sequence);
    want.push_back(alone->run(prompt(sequence, at, at + 1)));
    add_rows(next, sequence, sequence, at, at + 1);
    next.sequences.push_back(pages_of(sequence));
  }
  const std::vector<float> mixed = together->run(next);
  for (uint32_t sequence : {0u, 1u, 2u}) CHECK(part(mixed, sequence, 1) == want[sequence]);
}

TEST_CASE("two contexts run interleaved, slice by slice") {
  Toy toy;
  const std::vector<float> want_a = toy->run(prompt(0, 0, 50)), want_b = toy->run(prompt(1, 0, 20));
  Toy fresh;
  plugins::Context second = fresh->make_context(20);
  const Batch a = prompt(0, 0, 50), b = prompt(1, 0, 20);
  Submit submit_a(a, fresh->cache.handle()), submit_b(b, fresh->cache.handle());
  const auto last = static_cast<uint32_t>(fresh->program.cuts().size()) - 1;
  for (uint32_t cut = 0; cut < last; ++cut) {
    const uint64_t fence_a = need(fresh->context.submit(submit_a.slice(cut, cut + 1)));
    const uint64_t fence_b = need(second.submit(submit_b.slice(cut, cut + 1)));
    need(second.wait(fence_b));
    need(fresh->context.wait(fence_a));
  }
  CHECK(fresh->read(fresh->context, a) == want_a);
  CHECK(fresh->read(second, b) == want_b);
}

TEST_CASE("two slices of a context may be in flight") {
  Toy toy;
  const Batch batch = prompt(0, 0, 40);
  const std::vector<float> want = toy->run(batch);
  Submit first(batch, toy->cache.handle()), second(batch, toy->cache.handle());
  const auto last = static_cast<uint32_t>(toy->program.cuts().size()) - 1;
  const uint64_t one = need(toy->context.submit(first.slice(0, 1)));
  const uint64_t two = need(toy->context.submit(second.slice(1, last)));
  CHECK(one < two);
  need(toy->context.wait(two));
  need(toy->context.wait(one));
  CHECK(toy->read(toy->context, batch) == want);
}

TEST_CASE("rows that are not live leave the cache and the other rows alone") {
  Toy toy;
  toy->run(prompt(0, 0, 40));
  toy->run(prompt(1, 0, 40));
  const std::vector<float> want = toy->run(prompt(1, 40, 45));

  Batch batch;
  add_rows(batch, 0, 0, 30, 36);  // would write over positions 30 to 35
  add_rows(batch, 1, 1, 40, 45);
  batch.sequences = {{{{}, {}}, {}}, pages_of(1)};  // a cancelled sequence has no pages any more
  for (size_t r = 0; r < 6; ++r) {
    batch.rows[r].live = false;
    batch.rows[r].token = 9;
  }
  std::vector<std::vector<std::byte>> before, after;
  for (uint32_t page : {0u, 1u, 2u, 3u}) before.push_back(toy->page(kSliding, page));
  for (uint32_t page : {0u, 1u}) before.push_back(toy->page(kGlobal, page));
  CHECK(part(toy->run(batch), 6, 5) == want);
  for (uint32_t page : {0u, 1u, 2u, 3u}) after.push_back(toy->page(kSliding, page));
  for (uint32_t page : {0u, 1u}) after.push_back(toy->page(kGlobal, page));
  CHECK(before == after);
}

TEST_CASE("a row may die between two slices of its run") {
  Toy toy;
  toy->run(prompt(1, 0, 40));
  const std::vector<float> want = toy->run(prompt(1, 40, 45));
  Batch batch;
  add_rows(batch, 0, 0, 0, 30);
  add_rows(batch, 1, 1, 40, 45);
  batch.sequences = {pages_of(0), pages_of(1)};
  Batch later = batch;
  for (size_t r = 0; r < 30; ++r) later.rows[r].live = false;
  later.sequences[0] = {{{}, {}}, {}};

  Submit submit(batch, toy->cache.handle()), rest(later, toy->cache.handle());
  const auto last = static_cast<uint32_t>(toy->program.cuts().size()) - 1;
  need(toy->context.wait(need(toy->context.submit(submit.slice(0, last / 2)))));
  need(toy->context.wait(need(toy->context.submit(rest.slice(last / 2, last)))));
  CHECK(part(toy->read(toy->context, batch), 30, 5) == want);
}

TEST_CASE("pages behind the window may be given back") {
  Toy toy;
  toy->run(prompt(0, 0, 100));
  const std::vector<float> want = toy->run(prompt(0, 100, 104));
  Batch batch = prompt(0, 100, 104);
  // Position 100 sees 61 and later: block 1 is the first.
  Pages& pages = batch.sequences[0];
  pages.first_block = {1, 0};
  pages.pages[kSliding].erase(pages.pages[kSliding].begin());
  CHECK(toy->run(batch) == want);
}

TEST_CASE("pages move by copy, and between caches by their bytes") {
  for (uint32_t type : {FACET_TYPE_F16, FACET_TYPE_Q8_0}) {
    Toy toy(type);
    toy->run(prompt(0, 0, 70));
    const std::vector<float> want = toy->run(prompt(0, 70, 72));

    Batch batch = prompt(0, 70, 72);
    need(toy->cache.copy_page(kSliding, batch.sequences[0].pages[kSliding][1], 15));
    batch.sequences[0].pages[kSliding][1] = 15;
    need(toy->cache.copy_page(kGlobal, batch.sequences[0].pages[kGlobal][0], 7));
    batch.sequences[0].pages[kGlobal][0] = 7;
    CHECK(toy->run(batch) == want);

    Toy other(type);
    for (uint32_t group : {kSliding, kGlobal}) {
      std::vector<uint32_t>& pages = batch.sequences[0].pages[group];
      for (uint32_t i = 0; i < pages.size(); ++i) {
        need(other->cache.write_page(group, 3 + i, toy->page(group, pages[i])));
        pages[i] = 3 + i;
      }
    }
    CHECK(other->run(batch) == want);
  }
}

TEST_CASE("an external embedding counts as the token that has it") {
  Toy toy;
  Batch batch = prompt(0, 0, 12);
  const std::vector<float> want = toy->run(batch);
  batch.embeddings = toy->read(toy->context, batch, 1);
  for (size_t r = 0; r < 12; r += 2) batch.rows[r].token = -1 - static_cast<int32_t>(r);
  CHECK(toy->run(batch) == want);
}

TEST_CASE("an image's rows see each other") {
  Toy toy;
  Batch batch = prompt(0, 0, 20);
  const std::vector<float> causal = toy->run(batch);
  for (size_t r = 5; r < 15; ++r) batch.rows[r].last_visible = 14;
  const std::vector<float> both_ways = toy->run(batch);
  CHECK(part(both_ways, 0, 5) == part(causal, 0, 5));
  for (size_t r = 5; r < 14; ++r) CHECK(part(both_ways, r, 1) != part(causal, r, 1));
}

TEST_CASE("outputs are read by rows") {
  Toy toy;
  Batch batch = prompt(0, 0, 10);
  batch.selected = {2, 3, 9};
  const std::vector<float> all = toy->run(batch);
  std::vector<float> two(2 * kVocabulary);
  need(toy->context.read_output(0, 1, 2, two));
  CHECK(two == part(all, 1, 2));
  batch.selected = {};
  CHECK(toy->run(batch).empty());
}

TEST_CASE("a new run may begin where the last was left") {
  Toy toy;
  const Batch batch = prompt(0, 0, 10);
  const std::vector<float> want = toy->run(batch);
  const Batch other = prompt(1, 0, 30);
  Submit left(other, toy->cache.handle());
  need(toy->context.wait(need(toy->context.submit(left.slice(0, 2)))));
  CHECK(toy->run(batch) == want);
}

TEST_CASE("memory is what was announced") {
  Toy toy;
  const uint64_t small = need(toy->program.context_bytes(1, 1)),
                 large = need(toy->program.context_bytes(4096, 4096));
  CHECK(small > 0);
  CHECK(large > 1000 * kWidth * sizeof(float));
  CHECK(need(toy->device.cache_bytes(*toy.sketch.desc().cache, kPages)) >=
        16 * toy->cache.page_bytes(kSliding) + 8 * toy->cache.page_bytes(kGlobal));
  CHECK(toy->cache.page_bytes(kSliding) >= 32 * kKvHeads * kHeadDim * 2 * sizeof(uint16_t));
  Toy blocks(FACET_TYPE_Q8_0);
  CHECK(blocks->cache.page_bytes(kSliding) >= 32 * kKvHeads * kHeadDim / 32 * 2 * 34);
  CHECK(blocks->cache.page_bytes(kSliding) < 0.6 * static_cast<double>(toy->cache.page_bytes(kSliding)));
#ifndef __SANITIZE_ADDRESS__
  auto in_use = [] {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  };
  const size_t before = in_use();
  plugins::Context context = toy->make_context(4096);
  CHECK(static_cast<double>(in_use() - before) <= 1.05 * static_cast<double>(large) + 65536);
#endif
}

TEST_CASE("what a program may not say is refused by name, and the device goes on") {
  Toy toy;
  facet_program_desc desc = toy.sketch.desc();
  auto refused = [&](const char* what) {
    auto program = toy->device.create_program(desc);
    REQUIRE(!program.ok());
    CHECK(program.error().code == FACET_INVALID_ARGUMENT);
    CAPTURE(program.error().message);
    CHECK(program.error().message.find(what) != std::string::npos);
  };
  auto& op = toy.sketch.ops[2];
  REQUIRE(op.kind == FACET_OP_MATMUL);
  const facet_op good = op;
  op.inputs[0] = 10000;
  refused("op 2 (matmul)");
  op = good;
  op.weights[0] = 0;
  refused("op 2 (matmul)");
  op = good;
  toy.sketch.weights[3].bytes -= 1;
  refused(toy.sketch.weights[3].name);
  toy.sketch.weights[3].bytes += 1;
  desc.cache = nullptr;
  refused("cache");
  desc = toy.sketch.desc();
  CHECK(toy->device.create_program(desc).ok());
  for (uint32_t i = 0; i < toy.sketch.ops.size(); ++i) CHECK(toy->device.op_supported(desc, i).ok());
  CHECK(!toy->device.op_supported(desc, 1000).ok());
}

TEST_CASE("what a submit may not say is refused by name, and the context goes on") {
  Toy toy(FACET_TYPE_F16, 16);
  const Batch batch = prompt(0, 0, 10);
  const std::vector<float> want = toy->run(batch);
  const auto last = static_cast<uint32_t>(toy->program.cuts().size()) - 1;
  auto refused = [&](Batch bad, const char* what, uint32_t first = 0, uint32_t end = 1) {
    Submit submit(bad, toy->cache.handle());
    auto fence = toy->context.submit(submit.slice(first, end));
    REQUIRE(!fence.ok());
    CHECK(fence.error().code == FACET_INVALID_ARGUMENT);
    CAPTURE(fence.error().message);
    CHECK(fence.error().message.find(what) != std::string::npos);
  };
  refused(prompt(0, 0, 17), "17 rows");
  refused(batch, "cuts", 1, 1);
  refused(batch, "cuts", 0, last + 1);
  refused(batch, "cut 2", 2, 3);
  Batch bad = batch;
  bad.rows[3].token = kVocabulary;
  refused(bad, "row 3: token 50");
  bad = batch;
  bad.sequences[0].pages[kGlobal].clear();
  refused(bad, "row 0");
  bad = batch;
  bad.sequences[0].pages[kSliding][0] = 16;
  refused(bad, "page 16");

  // Rows must not change within a run.
  Submit submit(batch, toy->cache.handle());
  need(toy->context.wait(need(toy->context.submit(submit.slice(0, 1)))));
  refused(prompt(0, 0, 9), "rows", 1, 2);
  std::vector<float> data(10 * kVocabulary);
  CHECK(!toy->context.read_output(0, 0, 10, data).ok());
  CHECK(toy->run(batch) == want);
  CHECK(!toy->context.read_output(0, 1, 10, data).ok());
  CHECK(!toy->context.read_output(2, 0, 1, data).ok());
  CHECK(!toy->context.wait(1'000'000).ok());
}

TEST_CASE("bad pages, layouts and sizes are refused") {
  Toy toy;
  std::vector<std::byte> bytes(toy->cache.page_bytes(kSliding));
  CHECK(toy->cache.read_page(kSliding, 15, bytes).ok());
  CHECK(!toy->cache.read_page(kSliding, 16, bytes).ok());
  CHECK(!toy->cache.read_page(2, 0, bytes).ok());
  CHECK(!toy->cache.copy_page(kGlobal, 0, 8).ok());
  bytes.pop_back();
  CHECK(!toy->cache.write_page(kSliding, 0, bytes).ok());

  facet_cache_layout layout = *toy.sketch.desc().cache;
  layout.type = FACET_TYPE_Q4_0;
  CHECK(!toy->device.create_cache(layout, kPages).ok());
  {
    std::vector<facet_cache_layer> layers(toy.sketch.layers);
    layers[1].value_dim = 48;
    layout.type = FACET_TYPE_Q8_0;
    layout.layers = layers.data();
    auto cache = toy->device.create_cache(layout, kPages);
    REQUIRE(!cache.ok());
    CHECK(cache.error().code == FACET_INVALID_ARGUMENT);
    CHECK(cache.error().message.find("heads of 48 elements") != std::string::npos);
    layout.layers = toy.sketch.layers.data();
  }
  layout.type = FACET_TYPE_F32;
  {
    // A page of 4 GiB, 2^32 times.
    std::vector<facet_cache_layer> layers(toy.sketch.layers);
    layers[0].kv_heads = layers[0].key_dim = layers[0].value_dim = 4096;
    facet_cache_layout vast = layout;
    vast.layers = layers.data();
    auto huge = toy->device.create_cache(vast, std::vector<uint32_t>{UINT32_MAX, 1});
    REQUIRE(!huge.ok());
    CHECK((huge.error().code == FACET_EXHAUSTED || huge.error().code == FACET_TOO_LARGE));
  }

  // A cache of another layout does not fit the program.
  plugins::Cache other = need(toy->device.create_cache(layout, kPages));
  const Batch batch = prompt(0, 0, 3);
  Submit submit(batch, other.handle());
  CHECK(!toy->context.submit(submit.slice(0, 1)).ok());
  CHECK(!toy->program.create_context(0, 0).ok());
  CHECK(!toy->program.create_context(1u << 31, 1).ok());
  CHECK(!toy->program.create_context(1, 2).ok());
}
