// The CPU backend's kernels on one thread. FACET_ISA chooses them.
//
// The matmul, per weight type and number of rows: multiplications per second and bytes of weights per second.
// Names are type/rows/width/MiB of weights: 1 MiB stays in a cache, so that the numbers are those of the
// kernels; 256 MiB come from memory, as in generation; "packed" is the layout of packing.h.
//
// Beside it oneDNN's matmul of 64 rows, which the backend calls for F32 alone (dense.h): onednn/type/width of
// a matrix of 512 outputs; BF16 has activations and weights of bfloat16 and sums of float32, "packed" in the
// layout that oneDNN asks for. What it shows is whether other types are worth its sums.
//
// Attention, per type of the cache: multiplications per second and bytes of keys and values per second. Names
// are attention/type/queries/elements of a head/positions.
#include <benchmark/benchmark.h>

#include <dnnl.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "backends/onednn/cache.h"
#include "backends/onednn/dense.h"
#include "backends/onednn/kernels.h"
#include "backends/onednn/packing.h"
#include "backends/onednn/tile_size.h"

// As in dense.cc.
extern "C" void omp_set_num_threads(int threads);

using namespace facet::cpu;

namespace {

constexpr uint32_t kOutputs = 512;  // of a tile
constexpr uint32_t kPagePositions = 64;

std::byte* aligned(std::vector<std::byte>& room) {
  return reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uintptr_t>(room.data()), 64));
}

void matmul(benchmark::State& state, uint32_t type, bool packed) {
  const Kernels kernels = kernels_of(choose_isa(std::getenv("FACET_ISA")));
  const auto rows = static_cast<uint32_t>(state.range(0));
  const auto width = static_cast<uint32_t>(state.range(1));
  const size_t stride = facet_row_bytes(type, width), tile_bytes = kOutputs * stride;
  const size_t tiles = std::max<size_t>(static_cast<size_t>(state.range(2)) * 1024 * 1024 / tile_bytes, 1);
  std::minstd_rand random(1);
  std::vector<uint8_t> weights(tiles * tile_bytes);
  // No NaN in any format, and no sums below the normal numbers, which would take their time.
  const uint8_t set = act_kind(type) == ActKind::kFloat ? 0x38 : 0;
  for (uint8_t& byte : weights) byte = static_cast<uint8_t>(((random() >> 8) & 0x3f) | set);
  std::vector<float> x(width), out(size_t{rows} * kOutputs);
  for (float& value : x) value = static_cast<float>(random() % 2001) * 1e-3f - 1;

  const ActKind kind = act_kind(type);
  const ActRow row(kind, width);
  std::vector<std::byte> act_room(row.bytes * rows + 64), scratch_room(matmul_scratch(type, width) + 64);
  for (uint32_t r = 0; r < rows; ++r) {
    std::byte* act = aligned(act_room) + r * row.bytes;
    if (kind == ActKind::kFloat) std::memcpy(act, x.data(), row.bytes);
    if (kind == ActKind::kBlocks) kernels.quantise(x.data(), width, act);
  }
  MatmulTile tile{};
  tile.type = type;
  tile.width = width;
  tile.weight_stride = stride;
  tile.acts = aligned(act_room);
  tile.act_stride = row.bytes;
  tile.rows = rows;
  tile.outputs = kOutputs;
  tile.out = out.data();
  tile.out_stride = kOutputs;
  tile.scratch = aligned(scratch_room);
  size_t next = 0;
  for (auto _ : state) {
    tile.weights = weights.data() + next * tile_bytes;
    if (packed) tile.packed = tile.weights;  // no matter what the numbers are
    next = (next + 1) % tiles;
    kernels.matmul(tile);
    benchmark::ClobberMemory();
  }
  using benchmark::Counter;
  const double runs = static_cast<double>(state.iterations());
  state.counters["MAC/s"] = Counter(runs * rows * width * kOutputs, Counter::kIsRate);
  state.counters["B/s"] = Counter(runs * static_cast<double>(tile_bytes), Counter::kIsRate);
}

constexpr uint32_t kDenseRows = 64;

void report_dense(benchmark::State& state, uint32_t width) {
  state.counters["MAC/s"] = benchmark::Counter(
      static_cast<double>(state.iterations()) * kDenseRows * width * kOutputs, benchmark::Counter::kIsRate);
}

void dense_f32(benchmark::State& state) {
  const auto width = static_cast<uint32_t>(state.range(0));
  std::vector<float> w(size_t{kOutputs} * width, 0.5f), x(size_t{kDenseRows} * width, 0.25f),
      out(size_t{kDenseRows} * kOutputs);
  Dense dense(1);
  MatmulTile tile{};
  tile.type = FACET_TYPE_F32;
  tile.width = width;
  tile.acts = reinterpret_cast<const std::byte*>(x.data());
  tile.rows = kDenseRows;
  tile.outputs = kTileOutputs;
  tile.out_stride = kOutputs;
  for (auto _ : state) {
    for (uint32_t output = 0; output < kOutputs; output += kTileOutputs) {
      tile.weights = reinterpret_cast<const uint8_t*>(&w[size_t{output} * width]);
      tile.out = &out[output];
      dense.matmul(0, tile);
    }
    benchmark::ClobberMemory();
  }
  report_dense(state, width);
}

void dense_bf16(benchmark::State& state, bool packed) {
  using Type = dnnl::memory::data_type;
  omp_set_num_threads(1);
  const int64_t width = state.range(0);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl::memory::desc x({kDenseRows, width}, Type::bf16, dnnl::memory::dims{width, 1}),
      out({kDenseRows, kOutputs}, Type::f32, dnnl::memory::dims{kOutputs, 1}),
      rows({width, kOutputs}, Type::bf16, dnnl::memory::dims{1, width}),
      any({width, kOutputs}, Type::bf16, dnnl::memory::format_tag::any);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc description(engine, x, packed ? any : rows, out);
#else
  const dnnl::matmul::primitive_desc description({x, packed ? any : rows, out}, engine);
#endif
  const dnnl::matmul multiply(description);
  dnnl::memory x_memory(x, engine), out_memory(out, engine), w_memory(description.weights_desc(), engine);
  std::memset(x_memory.get_data_handle(), 0x3e, x.get_size());
  std::memset(w_memory.get_data_handle(), 0x3e, description.weights_desc().get_size());
  for (auto _ : state) {
    multiply.execute(stream,
                     {{DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, w_memory}, {DNNL_ARG_DST, out_memory}});
    stream.wait();
  }
  state.SetLabel(description.impl_info_str());
  report_dense(state, static_cast<uint32_t>(width));
}

void attention(benchmark::State& state, uint32_t type) {
  const Kernels kernels = kernels_of(choose_isa(std::getenv("FACET_ISA")));
  const auto count = static_cast<uint32_t>(state.range(0)), dim = static_cast<uint32_t>(state.range(1)),
             positions = static_cast<uint32_t>(state.range(2));
  const size_t block = block_bytes(type, dim, dim), page_bytes = kPagePositions / kKeyBlock * block;
  std::minstd_rand random(1);
  std::vector<float> row(2 * dim), q(dim), out(size_t{count} * dim);
  std::vector<std::byte> cache(positions / kKeyBlock * block), room(2 * facet_row_bytes(type, dim));
  for (uint32_t p = 0; p < positions; ++p) {
    for (float& value : row) value = static_cast<float>(random() % 2001) * 1e-3f - 1;
    put_position(kernels, type, cache.data() + p / kKeyBlock * block, p % kKeyBlock, row.data(), dim,
                 row.data() + dim, dim, room.data());
  }
  std::vector<uint32_t> pages(positions / kPagePositions);
  std::iota(pages.begin(), pages.end(), 0u);
  std::vector<Query> queries;
  for (uint32_t i = 0; i < count; ++i) queries.push_back({q.data(), &out[size_t{i} * dim], 0, positions});
  const AttentionTile tile{queries.data(), count,        dim,       dim, 0.1f, type, pages.data(), 0,
                           kPagePositions, cache.data(), page_bytes};
  for (auto _ : state) {
    kernels.attention(tile);
    benchmark::ClobberMemory();
  }
  using benchmark::Counter;
  const double runs = static_cast<double>(state.iterations());
  state.counters["MAC/s"] = Counter(runs * 2 * count * dim * positions, Counter::kIsRate);
  state.counters["B/s"] = Counter(runs * static_cast<double>(cache.size()), Counter::kIsRate);
}

}  // namespace

int main(int argc, char** argv) {
  for (uint32_t type :
       {FACET_TYPE_F32, FACET_TYPE_F16, FACET_TYPE_BF16, FACET_TYPE_Q4_0, FACET_TYPE_Q4_1, FACET_TYPE_Q5_0,
        FACET_TYPE_Q5_1, FACET_TYPE_Q8_0, FACET_TYPE_Q2_K, FACET_TYPE_Q3_K, FACET_TYPE_Q4_K, FACET_TYPE_Q5_K,
        FACET_TYPE_Q6_K, FACET_TYPE_IQ4_NL, FACET_TYPE_IQ4_XS}) {
    for (bool packed : {false, true}) {
      if (packed && !can_pack(type, kOutputs)) continue;
      auto run = [type, packed](benchmark::State& state) { matmul(state, type, packed); };
      benchmark::RegisterBenchmark((facet_type_name(type) + std::string(packed ? ",packed" : "")).c_str(),
                                   run)
          ->ArgsProduct({{1, 4, 8, 64}, {1024}, {1}})
          ->ArgsProduct({{1}, {1536, 6144}, {256}});
    }
  }
  benchmark::RegisterBenchmark("onednn/F32", dense_f32)->Arg(1024);
  for (bool packed : {false, true}) {
    auto run = [packed](benchmark::State& state) { dense_bf16(state, packed); };
    benchmark::RegisterBenchmark(packed ? "onednn/BF16,packed" : "onednn/BF16", run)->Arg(1024);
  }
  for (uint32_t type : {FACET_TYPE_F32, FACET_TYPE_F16, FACET_TYPE_Q8_0}) {
    auto run = [type](benchmark::State& state) { attention(state, type); };
    benchmark::RegisterBenchmark((std::string("attention/") + facet_type_name(type)).c_str(), run)
        ->ArgsProduct({{1, 4, 32}, {256, 512}, {1024, 16384}});
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
