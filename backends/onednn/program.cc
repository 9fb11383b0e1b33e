#include "backends/onednn/program.h"

#include <algorithm>
#include <cmath>

#include "backends/onednn/context.h"
#include "backends/onednn/device.h"
#include "backends/onednn/packing.h"

namespace facet::cpu {

Program::Program(Device& device, plugin::Description description)
    : device_(device), description_(std::move(description)), steps_(fuse(description_)) {
  const size_t ops = description_.ops.size();
  prepared_.resize(description_.weights.size());
  floats_.resize(ops);
  rotation_of_.assign(ops, FACET_NONE);
  decoded_.resize(description_.weights.size());
  for (uint32_t op = 0; op < ops; ++op) prepare(op);
  if (device.kernels().isa != Isa::kPortable) plan_packing();

  cuts_ = {0};
  cut_steps_ = {0};
  for (uint32_t s = 0; s < steps_.steps.size(); ++s) {
    if (steps_.steps[s].cut == 0) continue;
    cuts_.push_back(steps_.steps[s].cut);
    cut_steps_.push_back(s + 1);
  }
}

void Program::prepare(uint32_t number) {
  const facet_op& op = description_.ops[number];
  switch (op.kind) {
    case FACET_OP_EMBED:
    case FACET_OP_MATMUL:
      prepare_matrix(op.weights[0]);
      break;
    case FACET_OP_EXPERTS:
      prepare_matrix(op.weights[0]);
      prepare_matrix(op.weights[1]);
      if (op.weights[2] != FACET_NONE) prepare_matrix(op.weights[2]);
      if (op.weights[3] != FACET_NONE) floats_[number] = floats_of(op.weights[3]);
      break;
    case FACET_OP_RMS_NORM:
    case FACET_OP_SCALE:
      if (op.weights[0] != FACET_NONE) floats_[number] = floats_of(op.weights[0]);
      break;
    case FACET_OP_ROPE:
      rotation_of_[number] = find_rotation(number);
      break;
    case FACET_OP_CACHE_APPEND: {
      const facet_cache_layer& layer = description_.cache.layers[op.p.append.layer];
      const uint32_t type = description_.cache.type;
      const size_t room = facet_row_bytes(type, layer.key_dim) + facet_row_bytes(type, layer.value_dim);
      scratch_bytes_ = std::max(scratch_bytes_, room);
      break;
    }
  }
}

void Program::prepare_matrix(uint32_t number) {
  const facet_weight& weight = description_.weights[number];
  PreparedWeight& prepared = prepared_[number];
  prepared = {weight.type, static_cast<uint32_t>(weight.dims[0]), static_cast<uint32_t>(weight.dims[1]),
              static_cast<const uint8_t*>(weight.data), facet_row_bytes(weight.type, weight.dims[0])};
  prepared.by_dense = weight.type == FACET_TYPE_F32 && device_.dense() != nullptr &&
                      device_.dense()->has_equal_rows(prepared.width, prepared.outputs);
  scratch_bytes_ = std::max(scratch_bytes_, matmul_scratch(prepared.type, prepared.width));
}

// What a matmul or experts read, but for weights of which other ops read some rows alone.
void Program::plan_packing() {
  std::vector<bool> multiplied(description_.weights.size());
  for (const facet_op& op : description_.ops) {
    const uint32_t count = op.kind == FACET_OP_MATMUL ? 1 : op.kind == FACET_OP_EXPERTS ? 3 : 0;
    for (uint32_t i = 0; i < count; ++i) {
      if (op.weights[i] != FACET_NONE) multiplied[op.weights[i]] = true;
    }
  }
  std::vector<uint32_t> matrices;
  for (uint32_t number = 0; number < multiplied.size(); ++number) {
    const facet_weight& weight = description_.weights[number];
    if (multiplied[number] && can_pack(weight.type, weight.dims[1])) matrices.push_back(number);
  }
  packing_ = std::make_unique<PackedFile>(description_, matrices);
}

bool Program::pack(const std::string& path) {
  if (packed_bytes() == 0) return plugin::Program::pack(path);
  if (!packing_->step(path)) return false;
  packed_ = true;
  return true;
}

void Program::verify_packed(const std::string& path) const {
  if (packed_bytes() == 0) return plugin::Program::verify_packed(path);
  packing_->verify(path);
}

PreparedWeight Program::prepared(uint32_t weight) const {
  PreparedWeight prepared = prepared_[weight];
  if (packed_) prepared.packed = packing_->matrix(weight);
  return prepared;
}

const float* Program::floats_of(uint32_t number) {
  const facet_weight& weight = description_.weights[number];
  if (weight.type == FACET_TYPE_F32) return static_cast<const float*>(weight.data);
  std::vector<float>& copy = decoded_[number];
  if (copy.empty()) {
    copy.resize(weight.dims[0]);
    facet_decode_row(weight.type, weight.data, weight.dims[0], copy.data());
    private_bytes_ += copy.size() * sizeof(float);
  }
  return copy.data();
}

uint32_t Program::find_rotation(uint32_t number) {
  const facet_op& op = description_.ops[number];
  const auto& rope = op.p.rope;
  auto same = [&](const Rotation& r) {
    return r.n_rot == rope.n_rot && r.base == rope.base && r.freq_scale == rope.freq_scale &&
           r.weight == op.weights[0];
  };
  auto found = std::find_if(rotations_.begin(), rotations_.end(), same);
  if (found == rotations_.end()) {
    Rotation made{rope.n_rot, rope.base, rope.freq_scale, op.weights[0], {}};
    const float* divisors = op.weights[0] == FACET_NONE ? nullptr : floats_of(op.weights[0]);
    for (uint32_t i = 0; i < rope.n_rot / 2; ++i) {
      double frequency = rope.freq_scale * std::pow(double{rope.base}, -2.0 * i / rope.n_rot);
      made.frequencies.push_back(divisors == nullptr ? frequency : frequency / divisors[i]);
    }
    found = rotations_.insert(rotations_.end(), std::move(made));
  }
  return static_cast<uint32_t>(found - rotations_.begin());
}

ContextMemory Program::memory(uint32_t max_rows, uint32_t max_selected) const {
  ContextMemory memory;
  memory.values = plan(steps_, max_rows, max_selected);
  memory.rotations = memory.values.bytes;
  for (const Rotation& rotation : rotations_) memory.rotation_row += rotation.n_rot * sizeof(float);
  memory.workers = memory.rotations + round_up(memory.rotation_row * max_rows, 64);
  memory.worker_bytes = scratch_offset() + round_up(scratch_bytes_, 64);
  memory.bytes = memory.workers + memory.worker_bytes * device_.pool().workers();
  return memory;
}

uint64_t Program::context_bytes(uint32_t max_rows, uint32_t max_selected) const {
  return memory(max_rows, max_selected).bytes;
}

std::unique_ptr<plugin::Context> Program::create_context(uint32_t max_rows, uint32_t max_selected) {
  return std::make_unique<Context>(*this, max_rows, max_selected);
}

}  // namespace facet::cpu
