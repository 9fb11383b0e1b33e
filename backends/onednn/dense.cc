#include "backends/onednn/dense.h"

#include <dnnl.hpp>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <random>
#include <span>
#include <string_view>
#include <tuple>

#include "backends/onednn/tile_size.h"

// GNU's OpenMP runtime, which Debian's oneDNN is built with; declared here because only gcc has <omp.h>.
extern "C" void omp_set_num_threads(int threads);

namespace facet::cpu {
namespace {

using Type = dnnl::memory::data_type;

// Float32 throughout: without it an environment variable may have oneDNN round to bfloat16.
dnnl::primitive_attr float_arithmetic() {
  dnnl::primitive_attr attributes;
  attributes.set_fpmath_mode(dnnl::fpmath_mode::strict);
  return attributes;
}

using Description = dnnl::matmul::primitive_desc;

Description describe(const dnnl::engine& engine, uint32_t rows, uint32_t width, uint32_t outputs) {
  const dnnl::memory::desc x({rows, width}, Type::f32, {width, 1}),
      w({width, outputs}, Type::f32, {1, width}), out({rows, outputs}, Type::f32, {outputs, 1});
#if DNNL_VERSION_MAJOR >= 3
  return {engine, x, w, out, float_arithmetic()};
#else
  return {{x, w, out}, float_arithmetic(), engine};
#endif
}

bool is_brgemm(const Description& description) {
  return std::string_view(description.impl_info_str()).starts_with("brg");
}

struct Multiply {
  dnnl::matmul primitive;
  dnnl::memory x, w, out;

  Multiply(const dnnl::engine& engine, const Description& description)
      : primitive(description),
        x(description.src_desc(), engine, nullptr),
        w(description.weights_desc(), engine, nullptr),
        out(description.dst_desc(), engine, nullptr) {}
};

}  // namespace

struct Dense::Worker {
  using Key = std::tuple<uint32_t, uint32_t, uint32_t>;

  void matmul(const MatmulTile& tile);
  bool has_equal_rows(uint32_t width, uint32_t outputs);

  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::map<Key, Multiply> multiplies;
  std::vector<float> out;  // of one tile: with rows further apart oneDNN may choose another implementation
};

void Dense::Worker::matmul(const MatmulTile& tile) {
  omp_set_num_threads(1);  // of this thread: the pool is the only parallelism
  const Key key{tile.rows, tile.width, tile.outputs};
  auto found = multiplies.find(key);
  if (found == multiplies.end()) {
    if (multiplies.size() >= kMostPrimitives) multiplies.clear();
    const Description description = describe(engine, tile.rows, tile.width, tile.outputs);
    found = multiplies.emplace(key, Multiply(engine, description)).first;
  }
  Multiply& multiply = found->second;
  multiply.x.set_data_handle(const_cast<std::byte*>(tile.acts));
  multiply.w.set_data_handle(const_cast<uint8_t*>(tile.weights));
  if (out.size() < size_t{tile.rows} * tile.outputs) out.resize(size_t{tile.rows} * tile.outputs);
  multiply.out.set_data_handle(out.data());
  multiply.primitive.execute(
      stream, {{DNNL_ARG_SRC, multiply.x}, {DNNL_ARG_WEIGHTS, multiply.w}, {DNNL_ARG_DST, multiply.out}});
  stream.wait();
  for (uint32_t r = 0; r < tile.rows; ++r) {
    std::memcpy(tile.out + r * tile.out_stride, &out[size_t{r} * tile.outputs], tile.outputs * sizeof(float));
  }
}

// Of a tile of that shape.
bool Dense::Worker::has_equal_rows(uint32_t width, uint32_t outputs) {
  omp_set_num_threads(1);  // as where tiles are multiplied: oneDNN may choose by it
  const uint32_t most = tile_rows(width * sizeof(float));
  for (uint32_t rows = 1; rows <= most; ++rows) {
    if (!is_brgemm(describe(engine, rows, width, outputs))) return false;
  }
  std::minstd_rand random(width);
  auto fill = [&](std::span<float> values) {
    for (float& value : values) value = static_cast<float>(random() % 20001) * 1e-4f - 1;
  };
  // All rows are the same one, so all results are.
  std::vector<float> w(size_t{width} * outputs), x(size_t{width} * most), got(size_t{most} * outputs);
  fill(w);
  fill(std::span(x).first(width));
  for (size_t i = width; i < x.size(); ++i) x[i] = x[i - width];
  MatmulTile tile{};
  tile.type = FACET_TYPE_F32;
  tile.width = width;
  tile.weights = reinterpret_cast<const uint8_t*>(w.data());
  tile.acts = reinterpret_cast<const std::byte*>(x.data());
  tile.outputs = outputs;
  tile.out = got.data();
  tile.out_stride = outputs;
  std::vector<float> alone;
  for (uint32_t rows : {1u, 2u, 8u, 17u, 64u, most}) {
    tile.rows = std::min(rows, most);
    matmul(tile);
    if (rows == 1) alone.assign(got.begin(), got.begin() + outputs);
    for (uint32_t r = 0; r < tile.rows; ++r) {
      if (std::memcmp(&got[size_t{r} * outputs], alone.data(), outputs * sizeof(float)) != 0) return false;
    }
  }
  return true;
}

Dense::Dense(uint32_t workers) {
  for (uint32_t i = 0; i < workers; ++i) workers_.push_back(std::make_unique<Worker>());
}

Dense::~Dense() = default;

std::string Dense::name() {
  const dnnl_version_t* version = dnnl_version();
  const Description description = describe({dnnl::engine::kind::cpu, 0}, 64, 640, kTileOutputs);
  return "onednn-" + std::to_string(version->major) + "." + std::to_string(version->minor) + "-" +
         description.impl_info_str();
}

void Dense::matmul(uint32_t worker, const MatmulTile& tile) {
  workers_[worker]->matmul(tile);
}

bool Dense::works() try {
  constexpr std::pair<uint32_t, uint32_t> kShapes[] = {{640, 64}, {2048, 64}, {256, 40},
                                                       {160, 64}, {1153, 64}, {97, 7}};
  return std::all_of(std::begin(kShapes), std::end(kShapes),
                     [&](auto shape) { return tile_has_equal_rows(shape.first, shape.second); });
} catch (const dnnl::error&) {
  return false;  // no JIT in this process, or no such shape
}

bool Dense::has_equal_rows(uint32_t width, uint32_t outputs) {
  const uint32_t left = outputs % kTileOutputs;
  return width <= kMostWidth && (left == outputs || tile_has_equal_rows(width, kTileOutputs)) &&
         (left == 0 || tile_has_equal_rows(width, left));
}

bool Dense::tile_has_equal_rows(uint32_t width, uint32_t outputs) {
  std::lock_guard lock(mutex_);
  const std::pair shape(width, outputs);
  auto found = checked_.find(shape);
  if (found == checked_.end()) found = checked_.emplace(shape, Worker().has_equal_rows(width, outputs)).first;
  return found->second;
}

}  // namespace facet::cpu
