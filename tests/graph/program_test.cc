#include "daemon/graph/program.h"

#include <doctest/doctest.h>

#include <array>

using namespace facet::graph;

namespace {

// Weights with data that is never read.
alignas(32) const std::array<float, 4096> kData{};

facet_weight weight(const char* name, uint64_t columns, uint64_t rows) {
  facet_weight w{};
  w.size = sizeof w;
  w.name = name;
  w.type = FACET_TYPE_F32;
  w.dims[0] = columns;
  w.dims[1] = rows;
  w.dims[2] = w.dims[3] = 1;
  w.data = kData.data();
  w.bytes = columns * rows * 4;
  return w;
}

}  // namespace

TEST_CASE("a program keeps what it was built of, also after a move") {
  Builder b;
  Weight table = b.weight(weight("table", 8, 16));
  CacheGroup group = b.cache_group(32);
  CacheLayer layer = b.cache_layer(group, 1, 4, 4);
  Value x = b.embed(table, 2.0f);
  Value q = b.rope(x, {4, 4, 10000.0f, 1.0f});
  Value k = b.columns(x, 0, 4);
  b.cache_append(layer, k, b.columns(x, 4, 4));
  x = b.add(x, b.attention(layer, q, 2, 16, 0.5f));
  x = b.rms_norm(b.select(x), std::nullopt, 8, 1e-6f);
  b.output("logits", b.soft_cap(b.matmul(x, table), 30.0f));
  auto built = b.build();
  REQUIRE_MESSAGE(built.ok(), built.error().message);
  Program program = std::move(*built);

  CHECK(program.print() ==
        "0  v0[8] = embed table scale=2\n"
        "1  v1[8] = rope v0 n_rot=4/4 base=10000 freq_scale=1\n"
        "2  v2[4] = columns v0 first=0\n"
        "3  v3[4] = columns v0 first=4\n"
        "4  cache_append v2 v3 layer=0\n"
        "5  v4[8] = attention v1 layer=0 heads=2 window=16 scale=0.5\n"
        "6  v5[8] = add v0 v4\n"
        "7  v6[8] = select v5\n"
        "8  v7[8] = rms_norm v6 segment=8 eps=1e-06\n"
        "9  v8[16] = matmul v7 table\n"
        "10  v9[16] = soft_cap v8 cap=30\n"
        "output logits = v9\n");
  facet_program_desc desc = program.desc(FACET_TYPE_F32);
  CHECK(desc.op_count == 11);
  CHECK(std::string(desc.weights[0].name) == "table");
  CHECK(desc.cache->type == FACET_TYPE_F32);
  CHECK(program.desc(FACET_TYPE_F16).cache->type == FACET_TYPE_F16);
  CHECK(program.desc(FACET_TYPE_Q8_0).cache->type == FACET_TYPE_Q8_0);
  CHECK(desc.cache->layers[0].key_dim == 4);
  CHECK(program.find_output("logits") == 0);
  CHECK_FALSE(program.find_output("nothing").has_value());
  CHECK(program.output_width(0) == 16);
}

TEST_CASE("a program that contradicts itself is refused, naming the op") {
  Builder b;
  Weight table = b.weight(weight("table", 8, 16));
  Weight other = b.weight(weight("other", 4, 16));
  b.output("out", b.matmul(b.embed(table, 1.0f), other));
  auto built = b.build();
  REQUIRE_FALSE(built.ok());
  CHECK(built.error().code == FACET_INVALID_ARGUMENT);
  CHECK(built.error().message.find("op 1 (matmul)") != std::string::npos);
}
