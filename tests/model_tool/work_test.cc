#include "daemon/model_tool/work.h"

#include <doctest/doctest.h>

#include <array>

#include "daemon/graph/program.h"

using namespace facet::graph;
using facet::model_tool::Work;
using facet::model_tool::work_of;

namespace {

alignas(32) const std::array<float, 4096> kData{};  // of every weight; never read

facet_weight weight(const char* name, uint64_t columns, uint64_t rows, uint64_t matrices = 1) {
  facet_weight w{};
  w.size = sizeof w;
  w.name = name;
  w.type = FACET_TYPE_F32;
  w.dims[0] = columns;
  w.dims[1] = rows;
  w.dims[2] = matrices;
  w.dims[3] = 1;
  w.data = kData.data();
  w.bytes = columns * rows * matrices * 4;
  return w;
}

Program build(Builder& b) {
  auto built = b.build();
  REQUIRE_MESSAGE(built.ok(), built.error().message);
  return std::move(*built);
}

}  // namespace

TEST_CASE("matrices are read once, a table's row for each token, a cache by each layer that looks into it") {
  Builder b;
  Weight table = b.weight(weight("table", 8, 16));
  Weight norm = b.weight(weight("norm", 8, 1));
  Weight query = b.weight(weight("query", 8, 8));
  CacheGroup group = b.cache_group(32);
  CacheLayer layer = b.cache_layer(group, 1, 4, 4);
  Value x = b.embed(table, 1.0f);
  b.cache_append(layer, b.columns(x, 0, 4), b.columns(x, 4, 4));
  Value q = b.matmul(b.rms_norm(x, norm, 8, 1e-6f), query);
  x = b.add(b.attention(layer, q, 2, 16, 1.0f), b.attention(layer, q, 2, 0, 1.0f));
  x = b.add(x, b.attention(layer, q, 2, 0, 1.0f));
  b.output("logits", b.matmul(b.select(x), table));
  const Program program = build(b);

  Work work = work_of(program.desc(FACET_TYPE_F16));
  CHECK(work.dense_bytes == 8 * 4 + 8 * 4 + 8 * 8 * 4 + 8 * 16 * 4);
  CHECK(work.experts_bytes == 0);
  CHECK(work.row_macs == 8 * 8);
  CHECK(work.selected_macs == 8 * 16);
  CHECK(work.cache_bytes == std::map<uint32_t, uint64_t>{{16, 8 * 2}, {0, 2 * 8 * 2}});
  CHECK(work_of(program.desc(FACET_TYPE_F32)).cache_bytes[16] == 8 * 4);
}

TEST_CASE("of experts, those count that a row chooses") {
  Builder b;
  Weight table = b.weight(weight("table", 8, 16));
  Weight router = b.weight(weight("router", 8, 4));
  Weight gate = b.weight(weight("gate", 8, 2 * 6, 4)), down = b.weight(weight("down", 6, 8, 4));
  Value x = b.embed(table, 1.0f);
  Value routes = b.route(b.matmul(x, router), 3);
  x = b.experts(x, routes, {gate, down, std::nullopt, std::nullopt}, FACET_GELU_TANH);
  b.output("logits", b.matmul(b.select(x), table));

  Work work = work_of(build(b).desc(FACET_TYPE_F16));
  CHECK(work.dense_bytes == 8 * 4 + 8 * 4 * 4 + 8 * 16 * 4);
  CHECK(work.experts_bytes == 4 * (8 * 12 + 6 * 8) * 4);
  CHECK(work.expert_choices == 4);
  CHECK(work.experts_chosen == 3);
  CHECK(work.row_macs == 8 * 4 + 3 * (8 * 12 + 6 * 8));
}
