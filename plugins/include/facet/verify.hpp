// Checks program descriptions and cache layouts that cross the plugin boundary; facet/verify_submit.hpp
// checks submits. The graph builder and every backend use these same checks, so a program that one accepts
// all understand alike.
//
// A verify function returns nothing, or a sentence that says what is wrong and where: "op 12 (matmul): ...",
// "row 3: ...". What passes both can be run without any further check of indices, widths, pages or sizes.
//
// Beyond the words of facet/backend.h it demands: a value is written by exactly one op or input; an input,
// weight or output that an op does not use is FACET_NONE; a cache layer is appended at most once and never
// after an attention that reads it (a program may also only read a layer that another program writes); EMBED,
// ROPE, CACHE_APPEND and ATTENTION work on batch rows; the weights of an EXPERTS come from a ROUTE.
#ifndef FACET_VERIFY_HPP_
#define FACET_VERIFY_HPP_

#include <facet/blocks.h>
#include <facet/description.hpp>

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace facet::plugin {

using Fault = std::optional<std::string>;  // nothing: all is well

namespace detail {

// Strings joined, numbers written out.
template <typename... Parts>
std::string text(const Parts&... parts) {
  auto one = [](const auto& part) -> std::string {
    if constexpr (std::is_arithmetic_v<std::decay_t<decltype(part)>>) {
      return std::to_string(part);
    } else {
      return std::string(part);
    }
  };
  std::string all;
  (all.append(one(parts)), ...);
  return all;
}

template <typename... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  invalid(text(parts...));
}

template <typename Check>
Fault fault_of(const Check& check) {
  try {
    check();
  } catch (const Failure& failure) {
    return failure.message();
  }
  return std::nullopt;
}

inline void check_layout(const Layout& layout) {
  if (layout.type != FACET_TYPE_F32 && layout.type != FACET_TYPE_F16 && layout.type != FACET_TYPE_Q8_0) {
    fail("cache layout: type ", layout.type, " is none of F32, F16 and Q8_0");
  }
  const uint32_t block = facet_block_size_of(layout.type).elements;
  if (layout.groups.empty() || layout.layers.empty()) fail("cache layout: it has no groups or no layers");
  for (size_t g = 0; g < layout.groups.size(); ++g) {
    uint32_t positions = layout.groups[g].page_positions;
    if (positions != 32 && positions != 64 && positions != 128 && positions != 256) {
      fail("cache group ", g, ": pages of ", positions, " positions are not 32, 64, 128 or 256");
    }
  }
  for (size_t i = 0; i < layout.layers.size(); ++i) {
    const facet_cache_layer& layer = layout.layers[i];
    if (layer.group >= layout.groups.size()) fail("cache layer ", i, ": there is no group ", layer.group);
    for (uint32_t dim : {layer.key_dim, layer.value_dim}) {
      if (layer.kv_heads == 0 || dim == 0 || uint64_t{layer.kv_heads} * dim > kMaxWidth) {
        fail("cache layer ", i, ": ", layer.kv_heads, " heads of ", dim, " elements");
      }
      if (dim % block != 0) {
        fail("cache layer ", i, ": heads of ", dim, " elements are not whole blocks of ",
             facet_type_name(layout.type));
      }
    }
  }
}

inline void check_weight(const facet_weight& weight) {
  auto bad = [&](const auto&... parts) { fail("weight ", weight.name, ": ", parts...); };
  facet_block_size block = facet_block_size_of(weight.type);
  if (block.elements == 0) bad("type ", weight.type, " is unknown");
  if (weight.access != FACET_ACCESS_DENSE && weight.access != FACET_ACCESS_ROWS) {
    bad("access ", weight.access, " is unknown");
  }
  uint64_t rows = 1;
  for (int i = 0; i < 4; ++i) {
    if (weight.dims[i] == 0 || weight.dims[i] > UINT32_MAX) bad("dimension ", i, " is ", weight.dims[i]);
    if (i > 0 && __builtin_mul_overflow(rows, weight.dims[i], &rows)) bad("its dimensions overflow");
  }
  if (weight.dims[0] % block.elements != 0) {
    bad("rows of ", weight.dims[0], " are not whole blocks of ", facet_type_name(weight.type));
  }
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(rows, facet_row_bytes(weight.type, weight.dims[0]), &bytes)) {
    bad("its dimensions overflow");
  }
  if (bytes != weight.bytes) bad("it has ", weight.bytes, " bytes, its dimensions need ", bytes);
  if (weight.data == nullptr) bad("its data is NULL");
  if (reinterpret_cast<uintptr_t>(weight.data) % 32 != 0) bad("its data is not aligned to 32 bytes");
}

// The checks of one op by itself: indices, row kinds, widths, weights and parameters.
class OpCheck {
 public:
  OpCheck(const Description& program, uint32_t number)
      : program_(program), number_(number), op_(program.ops[number]) {}

  void run() {
    if (std::string_view(op_name(op_.kind)) == "unknown") bad("kind ", op_.kind, " is unknown");
    check_indices();
    switch (op_.kind) {
      case FACET_OP_EMBED:
        return embed();
      case FACET_OP_RMS_NORM:
        return rms_norm();
      case FACET_OP_MATMUL:
        require_dims(0, x().width, out().width);
        return same_rows();
      case FACET_OP_ROPE:
        return rope();
      case FACET_OP_CACHE_APPEND:
        return cache_append();
      case FACET_OP_ATTENTION:
        return attention();
      case FACET_OP_GATED:
        activation(op_.p.gated.activation);
        return elementwise();
      case FACET_OP_ADD:
      case FACET_OP_MUL:
        return elementwise();
      case FACET_OP_SCALE:
        finite(op_.p.scale.factor, "factor");
        if (has_weight(0)) require_dims(0, weight(0).dims[0] == 1 ? 1 : out().width);
        return elementwise();
      case FACET_OP_SOFT_CAP:
        positive(op_.p.soft_cap.cap, "cap");
        return elementwise();
      case FACET_OP_COLUMNS:
        if (uint64_t{op_.p.columns.first} + out().width > x().width) {
          bad("columns ", op_.p.columns.first, " to ", uint64_t{op_.p.columns.first} + out().width,
              " of a value of width ", x().width);
        }
        return same_rows();
      case FACET_OP_SELECT:
        require_width(x(), out().width);
        if (x().rows != FACET_ROWS_BATCH || out().rows != FACET_ROWS_SELECTED) {
          bad("it goes from batch rows to selected rows");
        }
        return;
      case FACET_OP_ROUTE:
        if (op_.p.route.used == 0 || op_.p.route.used > x().width) {
          bad("it uses ", op_.p.route.used, " of ", x().width, " experts");
        }
        return elementwise();
      case FACET_OP_EXPERTS:
        return experts();
      case FACET_OP_CONCAT:
        require_width(out(), uint64_t{x().width} + y().width);
        if (x().rows != y().rows) bad("its inputs have different kinds of rows");
        return same_rows();
    }
  }

 private:
  struct Shape {
    uint32_t inputs, weights_least, weights_most;
  };

  static Shape shape(uint32_t kind) {
    switch (kind) {
      case FACET_OP_EMBED:
        return {0, 1, 1};
      case FACET_OP_RMS_NORM:
      case FACET_OP_ROPE:
      case FACET_OP_SCALE:
        return {1, 0, 1};
      case FACET_OP_MATMUL:
        return {1, 1, 1};
      case FACET_OP_CACHE_APPEND:
      case FACET_OP_GATED:
      case FACET_OP_ADD:
      case FACET_OP_MUL:
      case FACET_OP_CONCAT:
        return {2, 0, 0};
      case FACET_OP_EXPERTS:
        return {2, 2, 4};
    }
    return {1, 0, 0};
  }

  template <typename... Parts>
  [[noreturn]] void bad(const Parts&... parts) const {
    fail("op ", number_, " (", op_name(op_.kind), "): ", parts...);
  }

  const facet_value& x() const { return program_.values[op_.inputs[0]]; }
  const facet_value& y() const { return program_.values[op_.inputs[1]]; }
  const facet_value& out() const { return program_.values[op_.output]; }
  bool has_weight(int i) const { return op_.weights[i] != FACET_NONE; }
  const facet_weight& weight(int i) const { return program_.weights[op_.weights[i]]; }

  void check_indices() const {
    Shape need = shape(op_.kind);
    for (uint32_t i = 0; i < FACET_OP_MAX_INPUTS; ++i) {
      if (i >= need.inputs && op_.inputs[i] != FACET_NONE) bad("input ", i, " is not FACET_NONE");
      if (i < need.inputs && op_.inputs[i] >= program_.values.size()) {
        bad("input ", i, ": there is no value ", op_.inputs[i]);
      }
    }
    for (uint32_t i = 0; i < FACET_OP_MAX_WEIGHTS; ++i) {
      if (op_.weights[i] == FACET_NONE) {
        if (i < need.weights_least) bad("weight ", i, " is missing");
        continue;
      }
      if (i >= need.weights_most) bad("weight ", i, " is not FACET_NONE");
      if (op_.weights[i] >= program_.weights.size()) bad("there is no weight ", op_.weights[i]);
    }
    if (op_.kind == FACET_OP_CACHE_APPEND) {
      if (op_.output != FACET_NONE) bad("its output is not FACET_NONE");
    } else if (op_.output >= program_.values.size()) {
      bad("there is no value ", op_.output, " for its output");
    }
  }

  void require_width(const facet_value& value, uint64_t width) const {
    if (value.width != width) bad("a width of ", value.width, " where ", width, " is needed");
  }
  void require_dims(int i, uint64_t first, uint64_t second = 1, uint64_t third = 1) const {
    const facet_weight& w = weight(i);
    if (w.dims[0] != first || w.dims[1] != second || w.dims[2] != third || w.dims[3] != 1) {
      bad("weight ", w.name, " is [", w.dims[0], ", ", w.dims[1], ", ", w.dims[2], ", ", w.dims[3],
          "], not [", first, ", ", second, ", ", third, ", 1]");
    }
  }
  void same_rows() const {
    if (x().rows != out().rows) bad("its input and output have different kinds of rows");
  }
  void batch_rows(const facet_value& value) const {
    if (value.rows != FACET_ROWS_BATCH) bad("it works on batch rows only");
  }
  void elementwise() const {
    same_rows();
    require_width(x(), out().width);
    if (op_.inputs[1] == FACET_NONE) return;
    require_width(y(), out().width);
    if (y().rows != out().rows) bad("its inputs have different kinds of rows");
  }
  void finite(float value, const char* what) const {
    if (!std::isfinite(value)) bad(what, " is not finite");
  }
  void activation(uint32_t kind) const {
    if (kind != FACET_GELU_TANH) bad("activation ", kind, " is unknown");
  }
  void positive(float value, const char* what) const {
    if (!std::isfinite(value) || value <= 0) bad(what, " is ", value, ", not a positive number");
  }

  void embed() const {
    const facet_weight& w = weight(0);
    require_dims(0, out().width, w.dims[1]);
    if (w.dims[1] > INT32_MAX) bad("weight ", w.name, " has ", w.dims[1], " rows");
    batch_rows(out());
    finite(op_.p.embed.scale, "scale");
  }

  void rms_norm() const {
    elementwise();
    uint32_t segment = op_.p.norm.segment;
    if (segment == 0 || out().width % segment != 0) {
      bad("segment ", segment, " does not divide the width ", out().width);
    }
    if (!std::isfinite(op_.p.norm.eps) || op_.p.norm.eps < 0) bad("eps is ", op_.p.norm.eps);
    if (has_weight(0)) require_dims(0, segment);
  }

  void rope() const {
    elementwise();
    batch_rows(x());
    const auto& rope = op_.p.rope;
    if (rope.head_dim == 0 || x().width % rope.head_dim != 0) {
      bad("head_dim ", rope.head_dim, " does not divide the width ", x().width);
    }
    if (rope.n_rot == 0 || rope.n_rot % 2 != 0 || rope.n_rot > rope.head_dim) {
      bad("n_rot ", rope.n_rot, " is not an even number from 2 to ", rope.head_dim);
    }
    positive(rope.base, "base");
    positive(rope.freq_scale, "freq_scale");
    if (has_weight(0)) require_dims(0, rope.n_rot / 2);
  }

  const facet_cache_layer& layer(uint32_t index) const {
    if (!program_.has_cache) bad("the program has no cache");
    if (index >= program_.cache.layers.size()) bad("there is no cache layer ", index);
    return program_.cache.layers[index];
  }

  void cache_append() const {
    const facet_cache_layer& cache = layer(op_.p.append.layer);
    batch_rows(x());
    batch_rows(y());
    require_width(x(), uint64_t{cache.kv_heads} * cache.key_dim);
    require_width(y(), uint64_t{cache.kv_heads} * cache.value_dim);
  }

  void attention() const {
    const facet_cache_layer& cache = layer(op_.p.attention.layer);
    uint32_t heads = op_.p.attention.heads;
    batch_rows(x());
    same_rows();
    if (heads == 0 || heads % cache.kv_heads != 0) {
      bad(heads, " heads are not a multiple of ", cache.kv_heads, " KV heads");
    }
    require_width(x(), uint64_t{heads} * cache.key_dim);
    require_width(out(), uint64_t{heads} * cache.value_dim);
    finite(op_.p.attention.scale, "scale");
  }

  void experts() const {
    same_rows();
    if (y().rows != out().rows) bad("its inputs have different kinds of rows");
    activation(op_.p.experts.activation);
    const bool has_ups = has_weight(2);
    const uint64_t inner = weight(1).dims[0], count = y().width;
    if (inner > kMaxWidth / 2) bad("weight ", weight(1).name, " has rows of ", inner, " elements");
    require_dims(0, x().width, has_ups ? inner : 2 * inner, count);
    require_dims(1, inner, out().width, count);
    if (has_ups) require_dims(2, x().width, inner, count);
    if (has_weight(3)) require_dims(3, count);
  }

  const Description& program_;
  uint32_t number_;
  const facet_op& op_;
};

inline void check_ports(const std::vector<facet_port>& ports, size_t values, const char* what) {
  for (size_t i = 0; i < ports.size(); ++i) {
    if (ports[i].value >= values) {
      fail(what, " ", i, " (", ports[i].name, "): there is no value ", ports[i].value);
    }
    for (size_t j = 0; j < i; ++j) {
      if (std::string_view(ports[i].name) == ports[j].name)
        fail(what, "s ", j, " and ", i, " have the same name");
    }
  }
}

// Every value is written once, before it is read; a cache layer is complete before it is read.
inline void check_order(const Description& program) {
  std::vector<bool> written(program.values.size()), routes(program.values.size());
  std::vector<bool> appended(program.cache.layers.size()), attended(program.cache.layers.size());
  auto write = [&](uint32_t value, const std::string& who) {
    if (written[value]) fail(who, ": value ", value, " is already written");
    written[value] = true;
  };
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    write(program.inputs[i].value, text("input ", i, " (", program.inputs[i].name, ")"));
  }
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const facet_op& op = program.ops[i];
    const std::string who = text("op ", i, " (", op_name(op.kind), ")");
    for (uint32_t input : op.inputs) {
      if (input != FACET_NONE && !written[input])
        fail(who, ": value ", input, " is read before it is written");
    }
    if (op.output != FACET_NONE) write(op.output, who);
    if (op.kind == FACET_OP_ROUTE) routes[op.output] = true;
    if (op.kind == FACET_OP_EXPERTS && !routes[op.inputs[1]]) {
      fail(who, ": value ", op.inputs[1], " is not the output of a route");
    }
    if (op.kind == FACET_OP_ATTENTION) attended[op.p.attention.layer] = true;
    if (op.kind == FACET_OP_CACHE_APPEND) {
      uint32_t layer = op.p.append.layer;
      if (attended[layer]) fail(who, ": cache layer ", layer, " was read before");
      if (appended[layer]) fail(who, ": cache layer ", layer, " is already written");
      appended[layer] = true;
    }
  }
  for (size_t i = 0; i < written.size(); ++i) {
    if (!written[i]) fail("value ", i, " is never written");
  }
}

inline void check_program(const Description& program) {
  if (program.ops.empty()) fail("the program has no ops");
  for (const facet_weight& weight : program.weights) check_weight(weight);
  for (size_t i = 0; i < program.values.size(); ++i) {
    const facet_value& value = program.values[i];
    if (value.rows != FACET_ROWS_BATCH && value.rows != FACET_ROWS_SELECTED) {
      fail("value ", i, ": kind of rows ", value.rows, " is unknown");
    }
    if (value.width == 0 || value.width > kMaxWidth) fail("value ", i, ": its width is ", value.width);
  }
  if (program.has_cache) check_layout(program.cache);
  check_ports(program.inputs, program.values.size(), "input");
  check_ports(program.outputs, program.values.size(), "output");
  for (uint32_t i = 0; i < program.ops.size(); ++i) OpCheck(program, i).run();
  check_order(program);
}

}  // namespace detail

inline Fault verify(const Layout& layout) {
  return detail::fault_of([&] { detail::check_layout(layout); });
}
inline Fault verify(const Description& program) {
  return detail::fault_of([&] { detail::check_program(program); });
}
inline Fault verify(const facet_program_desc& program) {
  return detail::fault_of([&] { detail::check_program(Description(program)); });
}

}  // namespace facet::plugin

#endif  // FACET_VERIFY_HPP_
