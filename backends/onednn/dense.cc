#include "backends/onednn/dense.h"

#include <dnnl.hpp>

#include <cstring>
#include <map>
#include <random>
#include <string_view>
#include <tuple>

// GNU's OpenMP runtime, which Debian's oneDNN is built with; declared here because only gcc has <omp.h>.
extern "C" void omp_set_num_threads(int threads);

namespace facet::cpu {
namespace {

using Type = dnnl::memory::data_type;

struct Multiply {
  dnnl::matmul primitive;
  dnnl::memory x, w, out;
  bool brgemm;

  Multiply(const dnnl::engine& engine, uint32_t rows, uint32_t width, uint32_t outputs)
      : Multiply(engine, {{rows, width}, Type::f32, {width, 1}}, {{width, outputs}, Type::f32, {1, width}},
                 {{rows, outputs}, Type::f32, {outputs, 1}}) {}

 private:
  Multiply(const dnnl::engine& engine, const dnnl::memory::desc& x_desc, const dnnl::memory::desc& w_desc,
           const dnnl::memory::desc& out_desc)
      : Multiply(engine,
#if DNNL_VERSION_MAJOR >= 3
                 dnnl::matmul::primitive_desc(engine, x_desc, w_desc, out_desc)
#else
                 dnnl::matmul::primitive_desc(dnnl::matmul::desc(x_desc, w_desc, out_desc), engine)
#endif
        ) {
  }

  Multiply(const dnnl::engine& engine, const dnnl::matmul::primitive_desc& desc)
      : primitive(desc),
        x(desc.src_desc(), engine, nullptr),
        w(desc.weights_desc(), engine, nullptr),
        out(desc.dst_desc(), engine, nullptr),
        brgemm(std::string_view(desc.impl_info_str()).starts_with("brg")) {}
};

}  // namespace

struct Dense::Worker {
  using Key = std::tuple<uint32_t, uint32_t, uint32_t>;

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<Key, Multiply> multiplies;
  std::vector<float> out;  // of one tile: with rows further apart oneDNN may choose another implementation
  bool brgemm = true;      // all of them so far
};

Dense::Dense(uint32_t workers) {
  for (uint32_t i = 0; i < workers; ++i) workers_.push_back(std::make_unique<Worker>());
}

Dense::~Dense() = default;

std::string Dense::name() {
  const dnnl_version_t* version = dnnl_version();
  return "onednn-" + std::to_string(version->major) + "." + std::to_string(version->minor) + "-brgemm";
}

void Dense::matmul(uint32_t number, const MatmulTile& tile) {
  omp_set_num_threads(1);  // of this thread: the pool is the only parallelism
  Worker& worker = *workers_[number];
  const Worker::Key key{tile.rows, tile.width, tile.outputs};
  auto found = worker.multiplies.find(key);
  if (found == worker.multiplies.end()) {
    if (worker.multiplies.size() >= kMostPrimitives) worker.multiplies.clear();
    Multiply made(worker.engine, tile.rows, tile.width, tile.outputs);
    worker.brgemm &= made.brgemm;
    found = worker.multiplies.emplace(key, std::move(made)).first;
  }
  Multiply& multiply = found->second;
  multiply.x.set_data_handle(const_cast<std::byte*>(tile.acts));
  multiply.w.set_data_handle(const_cast<uint8_t*>(tile.weights));
  if (worker.out.size() < size_t{tile.rows} * tile.outputs)
    worker.out.resize(size_t{tile.rows} * tile.outputs);
  multiply.out.set_data_handle(worker.out.data());
  multiply.primitive.execute(
      worker.stream,
      {{DNNL_ARG_SRC, multiply.x}, {DNNL_ARG_WEIGHTS, multiply.w}, {DNNL_ARG_DST, multiply.out}});
  worker.stream.wait();
  for (uint32_t r = 0; r < tile.rows; ++r) {
    std::memcpy(tile.out + r * tile.out_stride, &worker.out[size_t{r} * tile.outputs],
                tile.outputs * sizeof(float));
  }
}

bool Dense::rows_are_equal() try {
  constexpr std::pair<uint32_t, uint32_t> kShapes[] = {{640, 64}, {2048, 64}, {256, 40},
                                                       {160, 64}, {1153, 64}, {97, 7}};
  for (auto [width, outputs] : kShapes) {
    if (!has_equal_rows(width, outputs)) return false;
  }
  return true;
} catch (const dnnl::error&) {
  return false;  // no JIT in this process, or no such shape
}

bool Dense::has_equal_rows(uint32_t width, uint32_t outputs) {
  constexpr uint32_t kRows = 64;
  std::minstd_rand random(width);
  auto floats = [&](size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = static_cast<float>(random() % 20001) * 1e-4f - 1;
    return values;
  };
  const std::vector<float> w = floats(size_t{width} * outputs), x = floats(size_t{width} * kRows);
  auto compute = [&](uint32_t first, uint32_t rows) {
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
    matmul(0, tile);
    return out;
  };
  const std::vector<float> all = compute(0, kRows);
  for (uint32_t rows : {1u, 2u, 3u, 8u, 17u}) {
    for (uint32_t first = 0; first + rows <= kRows; first += rows) {
      const std::vector<float> some = compute(first, rows);
      if (!workers_[0]->brgemm) return false;
      if (std::memcmp(some.data(), &all[size_t{first} * outputs], some.size() * sizeof(float)) != 0)
        return false;
    }
  }
  return true;
}

}  // namespace facet::cpu
