// Reads the ABI's structs by their sizes, into copies that are complete and stand on their own.
//
//   Failure      what an author throws to make a call fail with a status and a sentence.
//   read         one struct: the smaller of its size and ours is read, what is missing is zero.
//   Layout       a copy of facet_cache_layout.
//   Description  a copy of facet_program_desc, names included. The weights' data stays where it is.
//   Slice        a copy of facet_submit's structs. What they point to (tokens, pages, ...) stays the host's.
//
// Reading checks sizes, counts and null pointers and throws Failure; whether the content makes sense is for
// facet/verify.hpp. Header-only; depends on the ABI and the standard library.
#ifndef FACET_DESCRIPTION_HPP_
#define FACET_DESCRIPTION_HPP_

#include <facet/backend.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace facet::plugin {

class Failure : public std::exception {
 public:
  Failure(facet_status status, std::string message) : status_(status), message_(std::move(message)) {}
  facet_status status() const { return status_; }
  const std::string& message() const { return message_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  facet_status status_;
  std::string message_;
};

[[noreturn]] inline void invalid(std::string message) {
  throw Failure(FACET_INVALID_ARGUMENT, std::move(message));
}

// Bounds on counts of weights, values, ops, layers and sequences, on widths, on the rows of a context, and on
// counts of cache groups and ports. With them no size computed from a program that passed verify() overflows
// 64 bits.
inline constexpr uint32_t kMaxItems = 1u << 16;
inline constexpr uint32_t kMaxWidth = 1u << 24;
inline constexpr uint32_t kMaxRows = 1u << 16;
inline constexpr uint32_t kMaxGroups = 16;
inline constexpr uint32_t kMaxPorts = 64;

template <typename T>
T read(const T& from) {
  T copy{};
  if (from.size < sizeof(size_t)) invalid("a struct's size is " + std::to_string(from.size));
  std::memcpy(&copy, &from, std::min(from.size, sizeof(T)));
  copy.size = sizeof(T);
  return copy;
}

// What `write` fills in for a caller whose struct may be smaller.
template <typename T>
void write(T value, T* to) {
  size_t size = to->size;
  if (size < sizeof(size_t)) invalid("a struct's size is " + std::to_string(size));
  std::memcpy(to, &value, std::min(size, sizeof(T)));
  to->size = size;
}

template <typename T>
std::vector<T> read_array(const T* first, uint32_t count, const char* what, uint32_t most = kMaxItems) {
  if (count > most) {
    invalid(std::to_string(count) + " " + what + ", more than " + std::to_string(most));
  }
  std::vector<T> copy;
  if (count == 0) return copy;
  if (first == nullptr) invalid(std::string(what) + " are NULL");
  copy.reserve(count);
  const auto* bytes = reinterpret_cast<const std::byte*>(first);
  const size_t stride = first->size;
  if (stride % alignof(T) != 0) {
    invalid(std::string(what) + " have an unaligned size of " + std::to_string(stride));
  }
  for (uint32_t i = 0; i < count; ++i) copy.push_back(read(*reinterpret_cast<const T*>(bytes + i * stride)));
  return copy;
}

// "matmul"; "unknown" for a number that is no facet_op_kind.
inline const char* op_name(uint32_t kind) {
  switch (kind) {
    case FACET_OP_EMBED:
      return "embed";
    case FACET_OP_RMS_NORM:
      return "rms_norm";
    case FACET_OP_MATMUL:
      return "matmul";
    case FACET_OP_ROPE:
      return "rope";
    case FACET_OP_CACHE_APPEND:
      return "cache_append";
    case FACET_OP_ATTENTION:
      return "attention";
    case FACET_OP_GATED:
      return "gated";
    case FACET_OP_ADD:
      return "add";
    case FACET_OP_MUL:
      return "mul";
    case FACET_OP_SCALE:
      return "scale";
    case FACET_OP_SOFT_CAP:
      return "soft_cap";
    case FACET_OP_COLUMNS:
      return "columns";
    case FACET_OP_SELECT:
      return "select";
    case FACET_OP_ROUTE:
      return "route";
    case FACET_OP_EXPERTS:
      return "experts";
    case FACET_OP_CONCAT:
      return "concat";
  }
  return "unknown";
}

struct Layout {
  uint32_t type = FACET_TYPE_F32;
  std::vector<facet_cache_group> groups;
  std::vector<facet_cache_layer> layers;

  Layout() = default;
  explicit Layout(const facet_cache_layout& from) {
    facet_cache_layout layout = read(from);
    type = layout.type;
    groups = read_array(layout.groups, layout.group_count, "cache groups", kMaxGroups);
    layers = read_array(layout.layers, layout.layer_count, "cache layers");
  }

  bool operator==(const Layout& other) const {
    auto same_group = [](const facet_cache_group& a, const facet_cache_group& b) {
      return a.page_positions == b.page_positions;
    };
    auto same_layer = [](const facet_cache_layer& a, const facet_cache_layer& b) {
      return a.group == b.group && a.kv_heads == b.kv_heads && a.key_dim == b.key_dim &&
             a.value_dim == b.value_dim;
    };
    return type == other.type &&
           std::equal(groups.begin(), groups.end(), other.groups.begin(), other.groups.end(), same_group) &&
           std::equal(layers.begin(), layers.end(), other.layers.begin(), other.layers.end(), same_layer);
  }
};

// Move-only: names of weights and ports point into it.
struct Description {
  std::vector<facet_weight> weights;
  std::vector<facet_value> values;
  std::vector<facet_op> ops;
  std::vector<facet_port> inputs, outputs;
  bool has_cache = false;
  Layout cache;

  explicit Description(const facet_program_desc& from) {
    facet_program_desc desc = read(from);
    weights = read_array(desc.weights, desc.weight_count, "weights");
    values = read_array(desc.values, desc.value_count, "values");
    ops = read_array(desc.ops, desc.op_count, "ops");
    inputs = read_array(desc.inputs, desc.input_count, "inputs", kMaxPorts);
    outputs = read_array(desc.outputs, desc.output_count, "outputs", kMaxPorts);
    has_cache = desc.cache != nullptr;
    if (has_cache) cache = Layout(*desc.cache);
    names_.reserve(weights.size() + inputs.size() + outputs.size());
    for (facet_weight& weight : weights) weight.name = keep(weight.name, "a weight");
    for (facet_port& port : inputs) port.name = keep(port.name, "an input");
    for (facet_port& port : outputs) port.name = keep(port.name, "an output");
  }
  Description(Description&&) = default;
  Description& operator=(Description&&) = default;
  Description(const Description&) = delete;

 private:
  const char* keep(const char* name, const char* what) {
    if (name == nullptr) invalid(std::string(what) + " has no name");
    return names_.emplace_back(name).c_str();
  }

  std::vector<std::string> names_;  // never grows beyond what the constructor reserves
};

struct Slice {
  uint32_t first_cut = 0, last_cut = 0;
  facet_cache* cache = nullptr;
  facet_rows rows{};
  uint32_t sequence_count = 0;
  uint32_t group_count = 0;
  std::vector<facet_page_table> tables;  // [sequence_count, group_count]
  std::vector<facet_input> inputs;

  Slice() = default;
  Slice(const facet_submit& from, uint32_t groups) : group_count(groups) {
    facet_submit submit = read(from);
    first_cut = submit.first_cut;
    last_cut = submit.last_cut;
    cache = submit.cache;
    if (submit.rows == nullptr) invalid("the submit has no rows");
    rows = read(*submit.rows);
    sequence_count = submit.sequence_count;
    if (sequence_count > kMaxItems) invalid(std::to_string(sequence_count) + " sequences are too many");
    tables = read_array(submit.tables, sequence_count * groups, "page tables", kMaxItems * kMaxGroups);
    inputs = read_array(submit.inputs, submit.input_count, "inputs", kMaxPorts);
  }

  const facet_page_table& table(uint32_t sequence, uint32_t group) const {
    return tables[size_t{sequence} * group_count + group];
  }
  bool live(uint32_t row) const { return (rows.flags[row] & FACET_ROW_LIVE) != 0; }
};

}  // namespace facet::plugin

#endif  // FACET_DESCRIPTION_HPP_
