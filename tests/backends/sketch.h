// A small program written down for a test, and a rig that runs it on the backend under test through the
// plugin host. FACET_TEST_BACKEND names the backend.
//
// A Sketch collects weights, values and ops and gives the facet_program_desc that points into it. A Rig holds
// device, program, cache and contexts for one Sketch. A Batch is the rows of one run with their page tables.
#pragma once

#include <facet/backend.h>

#include <array>
#include <deque>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "plugins/host/backend.h"

namespace facet::test {

std::string backend_under_test();
// How far a result may be from exact arithmetic, relative to the size of what was summed: the oracle's is
// float32 rounding, other backends may compute in float32 and quantise activations for quantised weights.
double tolerance(uint32_t weight_type = FACET_TYPE_F32);

// All facet_types, in the order of their numbers.
extern const std::vector<uint32_t> kTypes;

// Numbers with a fixed seed.
class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  float uniform(float low, float high);
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>(engine_() % bound); }
  std::vector<float> floats(size_t count, float low = -1, float high = 1);

 private:
  std::mt19937 engine_;
};

class Sketch {
 public:
  // `dims` that are not given are 1.
  using Dims = std::array<uint64_t, 3>;
  uint32_t weight(uint32_t type, Dims dims, Random& random);
  uint32_t weight_f32(Dims dims, const std::vector<float>& data);
  uint32_t value(uint32_t width, uint32_t rows = FACET_ROWS_BATCH);
  uint32_t input(const std::string& name, uint32_t width);
  void output(const std::string& name, uint32_t value);
  uint32_t group(uint32_t page_positions);
  uint32_t layer(uint32_t group, uint32_t kv_heads, uint32_t key_dim, uint32_t value_dim);
  // The op stays where it is until the next call of op(): fill in its parameters at once.
  facet_op& op(uint32_t kind, std::vector<uint32_t> inputs, std::vector<uint32_t> weights, uint32_t output);

  facet_program_desc desc();

  // A weight's rows as float32.
  std::vector<float> decoded(uint32_t weight) const;

  std::vector<facet_weight> weights;
  std::vector<facet_value> values;
  std::vector<facet_op> ops;
  std::vector<facet_port> inputs, outputs;
  std::vector<facet_cache_group> groups;
  std::vector<facet_cache_layer> layers;
  uint32_t cache_type = FACET_TYPE_F32;

 private:
  struct Free {
    void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t(32)); }
  };
  const char* keep(const std::string& name) { return names_.emplace_back(name).c_str(); }
  uint32_t add_weight(uint32_t type, Dims dims, std::vector<std::byte> bytes);

  facet_cache_layout layout_{};
  std::deque<std::string> names_;
  std::vector<std::unique_ptr<std::byte, Free>> memory_;
};

// Bytes of `elements` of a row in that format, whose values lie within about -1 .. 1.
std::vector<std::byte> random_blocks(uint32_t type, uint64_t elements, Random& random);

// One sequence's pages in each group: [groups] of page numbers, and the block that the first one holds.
struct Pages {
  std::vector<std::vector<uint32_t>> pages;
  std::vector<uint32_t> first_block;
};

struct Batch {
  struct Row {
    int32_t token = 0, position = 0;
    uint32_t sequence = 0;
    int32_t last_visible = -1;  // -1: its own position
    bool live = true;
  };
  std::vector<Row> rows;
  std::vector<uint32_t> selected;
  std::vector<Pages> sequences;
  std::vector<float> embeddings;
  std::vector<std::vector<float>> inputs;  // per port
};

// A submit of a batch that outlives it, and the arrays that it points to.
class Submit {
 public:
  Submit(const Batch& batch, facet_cache* cache);
  facet_submit& slice(uint32_t first_cut, uint32_t last_cut);

  facet_rows rows{};
  std::vector<int32_t> tokens, positions, last_visible;
  std::vector<uint32_t> sequences;
  std::vector<uint8_t> flags;
  std::vector<facet_page_table> tables;
  std::vector<facet_input> inputs;
  facet_submit submit{};
};

class Rig {
 public:
  // The sketch outlives the rig. pages: per group.
  Rig(Sketch& sketch, std::vector<uint32_t> pages, uint32_t max_rows = 64);

  // Runs the batch in slices of so many cuts (0: in one) and reads output 0 whole.
  std::vector<float> run(const Batch& batch, uint32_t cuts = 0);
  std::vector<float> read(plugins::Context& context, const Batch& batch, uint32_t port = 0);
  plugins::Context make_context(uint32_t max_rows);
  std::vector<std::byte> page(uint32_t group, uint32_t page);

  plugins::Device device;
  plugins::Program program;
  plugins::Cache cache;
  plugins::Context context;

 private:
  Sketch& sketch_;
};

// The value, or a failed test and an exception.
template <typename T>
T need(Result<T> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
  return std::move(result).value();
}
inline void need(Result<void> result) {
  if (!result.ok()) throw std::runtime_error(result.error().message);
}

}  // namespace facet::test
