// A program: what a model computes, as a list of ops over values, for any backend.
//
// Value   one float32 row of fixed width per row of the batch (or per selected row); the result of one op or
// an input. Weight  a tensor of the model file that an op reads. Layer   a cache layer: where keys and values
// of earlier positions are kept. The ops are those of <facet/backend.h>, which states what each computes. A
// model family's file calls the Builder once per model; the result owns everything that a facet_program_desc
// points to, but for the weights' data.
#pragma once

#include <facet/backend.h>

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace facet::graph {

struct Value {
  uint32_t index = FACET_NONE;
};
struct Weight {
  uint32_t index = FACET_NONE;
};
struct CacheGroup {
  uint32_t index = FACET_NONE;
};
struct CacheLayer {
  uint32_t index = FACET_NONE;
};

// What a cache may keep keys and values in.
inline constexpr std::array<facet_type, 3> kCacheTypes{FACET_TYPE_F32, FACET_TYPE_F16, FACET_TYPE_Q8_0};

// Immutable once built. Movable; desc() is valid for as long as the object that it was asked of lives.
class Program {
 public:
  // The description for a backend whose cache keeps `cache_type`, one of kCacheTypes.
  facet_program_desc desc(facet_type cache_type) const;

  // Index of a named output or input, for submits and reads.
  std::optional<uint32_t> find_output(const std::string& name) const;
  std::optional<uint32_t> find_input(const std::string& name) const;
  // Width of a value of an output.
  uint32_t output_width(uint32_t port) const;

  uint32_t op_count() const { return static_cast<uint32_t>(ops_.size()); }
  const std::vector<facet_cache_layer>& cache_layers() const { return cache_layers_; }
  const std::vector<facet_cache_group>& cache_groups() const { return cache_groups_; }

  // One line per op: "12  v9[640] = matmul v8, blk.0.attn_q.weight".
  std::string print() const;

 private:
  friend class Builder;

  std::vector<facet_weight> weights_;
  std::vector<facet_value> values_;
  std::vector<facet_op> ops_;
  std::vector<facet_port> inputs_;
  std::vector<facet_port> outputs_;
  std::vector<facet_cache_group> cache_groups_;
  std::vector<facet_cache_layer> cache_layers_;
  std::deque<std::string> names_;                                 // a deque: strings stay where they are
  std::array<facet_cache_layout, kCacheTypes.size()> layouts_{};  // that desc() points to
};

// Appends ops in the order of the calls. Widths follow from the arguments; what contradicts itself is found
// by build().
class Builder {
 public:
  // `weight` as the backend gets it; its name is copied.
  Weight weight(facet_weight weight);
  // A value that the host hands in, per row of the batch.
  Value input(const std::string& name, uint32_t width);
  void output(const std::string& name, Value value);
  CacheGroup cache_group(uint32_t page_positions);
  CacheLayer cache_layer(CacheGroup group, uint32_t kv_heads, uint32_t key_dim, uint32_t value_dim);

  Value embed(Weight table, float scale);
  Value rms_norm(Value x, std::optional<Weight> weight, uint32_t segment, float eps);
  Value matmul(Value x, Weight weight);
  struct Rope {
    uint32_t head_dim, n_rot;
    float base, freq_scale;
  };
  Value rope(Value x, const Rope& rope, std::optional<Weight> freq_factors = {});
  void cache_append(CacheLayer layer, Value key, Value value);
  Value attention(CacheLayer layer, Value query, uint32_t heads, uint32_t window, float scale);
  Value gated(facet_activation activation, Value gate, Value up);
  Value add(Value x, Value y);
  Value mul(Value x, Value y);
  Value scale(Value x, float factor, std::optional<Weight> weight = {});
  Value soft_cap(Value x, float cap);
  Value columns(Value x, uint32_t first, uint32_t width);
  Value select(Value x);
  Value route(Value x, uint32_t used);
  // The weights of FACET_OP_EXPERTS: without `up`, `gate` holds gates and ups.
  struct Experts {
    Weight gate, down;
    std::optional<Weight> up, factors;
  };
  Value experts(Value x, Value routes, const Experts& weights, facet_activation activation);
  Value concat(Value x, Value y);

  uint32_t width(Value value) const;

  // Checks the whole program. invalid_argument names the op and what is wrong with it. The builder is used
  // up.
  Result<Program> build();

 private:
  facet_op& op(facet_op_kind kind, std::initializer_list<Value> inputs,
               std::initializer_list<Weight> weights = {});
  Value result(facet_op& op, uint32_t width, uint32_t rows);
  uint32_t rows(Value value) const;

  Program program_;
};

}  // namespace facet::graph
