#include "daemon/graph/program.h"

#include <facet/verify.hpp>

#include <algorithm>

namespace facet::graph {
namespace {

facet_cache_layout layout_of(facet_type type, const std::vector<facet_cache_group>& groups,
                             const std::vector<facet_cache_layer>& layers) {
  return {sizeof(facet_cache_layout),
          static_cast<uint32_t>(type),
          static_cast<uint32_t>(groups.size()),
          static_cast<uint32_t>(layers.size()),
          groups.data(),
          layers.data()};
}

std::optional<uint32_t> find_port(const std::vector<facet_port>& ports, const std::string& name) {
  for (uint32_t i = 0; i < ports.size(); ++i) {
    if (name == ports[i].name) return i;
  }
  return std::nullopt;
}

}  // namespace

facet_program_desc Program::desc(facet_type cache_type) const {
  facet_program_desc desc{};
  desc.size = sizeof desc;
  desc.weight_count = static_cast<uint32_t>(weights_.size());
  desc.value_count = static_cast<uint32_t>(values_.size());
  desc.op_count = static_cast<uint32_t>(ops_.size());
  desc.input_count = static_cast<uint32_t>(inputs_.size());
  desc.output_count = static_cast<uint32_t>(outputs_.size());
  desc.weights = weights_.data();
  desc.values = values_.data();
  desc.ops = ops_.data();
  desc.inputs = inputs_.data();
  desc.outputs = outputs_.data();
  if (!cache_layers_.empty()) {
    desc.cache = &*std::find_if(layouts_.begin(), layouts_.end(),
                                [&](const facet_cache_layout& layout) { return layout.type == cache_type; });
  }
  return desc;
}

std::optional<uint32_t> Program::find_output(const std::string& name) const {
  return find_port(outputs_, name);
}

std::optional<uint32_t> Program::find_input(const std::string& name) const {
  return find_port(inputs_, name);
}

uint32_t Program::output_width(uint32_t port) const {
  return values_[outputs_[port].value].width;
}

Weight Builder::weight(facet_weight weight) {
  weight.name = program_.names_.emplace_back(weight.name).c_str();
  program_.weights_.push_back(weight);
  return {static_cast<uint32_t>(program_.weights_.size() - 1)};
}

Value Builder::input(const std::string& name, uint32_t width) {
  program_.values_.push_back({sizeof(facet_value), FACET_ROWS_BATCH, width});
  uint32_t value = static_cast<uint32_t>(program_.values_.size() - 1);
  program_.inputs_.push_back({sizeof(facet_port), program_.names_.emplace_back(name).c_str(), value});
  return {value};
}

void Builder::output(const std::string& name, Value value) {
  program_.outputs_.push_back({sizeof(facet_port), program_.names_.emplace_back(name).c_str(), value.index});
}

CacheGroup Builder::cache_group(uint32_t page_positions) {
  program_.cache_groups_.push_back({sizeof(facet_cache_group), page_positions});
  return {static_cast<uint32_t>(program_.cache_groups_.size() - 1)};
}

CacheLayer Builder::cache_layer(CacheGroup group, uint32_t kv_heads, uint32_t key_dim, uint32_t value_dim) {
  program_.cache_layers_.push_back({sizeof(facet_cache_layer), group.index, kv_heads, key_dim, value_dim});
  return {static_cast<uint32_t>(program_.cache_layers_.size() - 1)};
}

Value Builder::embed(Weight table, float scale) {
  facet_op& o = op(FACET_OP_EMBED, {}, {table});
  o.p.embed.scale = scale;
  return result(o, static_cast<uint32_t>(program_.weights_[table.index].dims[0]), FACET_ROWS_BATCH);
}

Value Builder::rms_norm(Value x, std::optional<Weight> weight, uint32_t segment, float eps) {
  facet_op& o = weight ? op(FACET_OP_RMS_NORM, {x}, {*weight}) : op(FACET_OP_RMS_NORM, {x});
  o.p.norm = {segment, eps};
  return result(o, width(x), rows(x));
}

Value Builder::matmul(Value x, Weight weight) {
  return result(op(FACET_OP_MATMUL, {x}, {weight}),
                static_cast<uint32_t>(program_.weights_[weight.index].dims[1]), rows(x));
}

Value Builder::rope(Value x, const Rope& rope, std::optional<Weight> freq_factors) {
  facet_op& o = freq_factors ? op(FACET_OP_ROPE, {x}, {*freq_factors}) : op(FACET_OP_ROPE, {x});
  o.p.rope = {rope.head_dim, rope.n_rot, rope.base, rope.freq_scale};
  return result(o, width(x), rows(x));
}

void Builder::cache_append(CacheLayer layer, Value key, Value value) {
  op(FACET_OP_CACHE_APPEND, {key, value}).p.append.layer = layer.index;
}

Value Builder::attention(CacheLayer layer, Value query, uint32_t heads, uint32_t window, float scale) {
  facet_op& o = op(FACET_OP_ATTENTION, {query});
  o.p.attention = {layer.index, heads, window, scale};
  return result(o, heads * program_.cache_layers_[layer.index].value_dim, rows(query));
}

Value Builder::gated(facet_activation activation, Value gate, Value up) {
  facet_op& o = op(FACET_OP_GATED, {gate, up});
  o.p.gated.activation = activation;
  return result(o, width(gate), rows(gate));
}

Value Builder::add(Value x, Value y) {
  return result(op(FACET_OP_ADD, {x, y}), width(x), rows(x));
}

Value Builder::mul(Value x, Value y) {
  return result(op(FACET_OP_MUL, {x, y}), width(x), rows(x));
}

Value Builder::scale(Value x, float factor, std::optional<Weight> weight) {
  facet_op& o = weight ? op(FACET_OP_SCALE, {x}, {*weight}) : op(FACET_OP_SCALE, {x});
  o.p.scale.factor = factor;
  return result(o, width(x), rows(x));
}

Value Builder::soft_cap(Value x, float cap) {
  facet_op& o = op(FACET_OP_SOFT_CAP, {x});
  o.p.soft_cap.cap = cap;
  return result(o, width(x), rows(x));
}

Value Builder::columns(Value x, uint32_t first, uint32_t width) {
  facet_op& o = op(FACET_OP_COLUMNS, {x});
  o.p.columns.first = first;
  return result(o, width, rows(x));
}

Value Builder::select(Value x) {
  return result(op(FACET_OP_SELECT, {x}), width(x), FACET_ROWS_SELECTED);
}

Value Builder::route(Value x, uint32_t used) {
  facet_op& o = op(FACET_OP_ROUTE, {x});
  o.p.route.used = used;
  return result(o, width(x), rows(x));
}

Value Builder::experts(Value x, Value routes, const Experts& weights, facet_activation activation) {
  facet_op& o =
      op(FACET_OP_EXPERTS, {x, routes},
         {weights.gate, weights.down, weights.up.value_or(Weight{}), weights.factors.value_or(Weight{})});
  o.p.experts.activation = activation;
  return result(o, static_cast<uint32_t>(program_.weights_[weights.down.index].dims[1]), rows(x));
}

Value Builder::concat(Value x, Value y) {
  return result(op(FACET_OP_CONCAT, {x, y}), width(x) + width(y), rows(x));
}

uint32_t Builder::width(Value value) const {
  return program_.values_[value.index].width;
}

uint32_t Builder::rows(Value value) const {
  return program_.values_[value.index].rows;
}

facet_op& Builder::op(facet_op_kind kind, std::initializer_list<Value> inputs,
                      std::initializer_list<Weight> weights) {
  facet_op& o = program_.ops_.emplace_back();
  o.size = sizeof o;
  o.kind = kind;
  std::fill(std::begin(o.inputs), std::end(o.inputs), FACET_NONE);
  std::fill(std::begin(o.weights), std::end(o.weights), FACET_NONE);
  o.output = FACET_NONE;
  uint32_t i = 0;
  for (Value value : inputs) o.inputs[i++] = value.index;
  i = 0;
  for (Weight weight : weights) o.weights[i++] = weight.index;
  return o;
}

Value Builder::result(facet_op& op, uint32_t width, uint32_t rows) {
  program_.values_.push_back({sizeof(facet_value), rows, width});
  op.output = static_cast<uint32_t>(program_.values_.size() - 1);
  return {op.output};
}

Result<Program> Builder::build() {
  Program program = std::move(program_);
  for (size_t i = 0; i < kCacheTypes.size(); ++i) {
    program.layouts_[i] = layout_of(kCacheTypes[i], program.cache_groups_, program.cache_layers_);
  }
  if (auto fault = plugin::verify(program.desc(FACET_TYPE_F16))) return Error{FACET_INVALID_ARGUMENT, *fault};
  return program;
}

}  // namespace facet::graph
