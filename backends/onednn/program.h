// A compiled program: its steps, and what they read that does not change from run to run.
#pragma once

#include <facet/backend.hpp>

#include <atomic>
#include <memory>
#include <vector>

#include "backends/onednn/cache.h"
#include "backends/onednn/packed_file.h"
#include "backends/onednn/steps.h"

namespace facet::cpu {

class Device;

// A weight as the matmul kernels read it: the file's own blocks, and packed ones where there are.
struct PreparedWeight {
  uint32_t type = 0, width = 0, outputs = 0;
  const uint8_t* rows = nullptr;
  size_t stride = 0;  // bytes from one output to the next
  const uint8_t* packed = nullptr;
  bool by_dense = false;  // multiplied by oneDNN

  // Of a stack of matrices.
  PreparedWeight matrix(uint32_t number) const {
    PreparedWeight one = *this;
    one.rows += size_t{number} * outputs * stride;
    if (packed != nullptr) one.packed += size_t{number} * outputs * stride;
    return one;
  }
};

// The rotations of one kind of ROPE: angle i of a position is position * frequencies[i].
struct Rotation {
  uint32_t n_rot;
  float base, freq_scale;
  uint32_t weight;                  // or FACET_NONE
  std::vector<double> frequencies;  // [n_rot/2]
};

// What a context takes of memory, as offsets into one block.
struct ContextMemory {
  Arena values;
  size_t rotations = 0;     // float cos [n_rot/2], then sin, per row and rotation
  size_t rotation_row = 0;  // bytes per row
  size_t workers = 0;       // of each worker
  size_t worker_bytes = 0;
  size_t bytes = 0;
};

class Program final : public plugin::Program {
 public:
  Program(Device& device, plugin::Description description);

  std::vector<uint32_t> cuts() const override { return cuts_; }
  uint64_t private_bytes() const override { return private_bytes_; }
  uint64_t context_bytes(uint32_t max_rows, uint32_t max_selected) const override;
  uint64_t packed_bytes() const override { return packing_ == nullptr ? 0 : packing_->bytes(); }
  bool pack(const std::string& path) override;
  void verify_packed(const std::string& path) const override;
  std::unique_ptr<plugin::Context> create_context(uint32_t max_rows, uint32_t max_selected) override;

  Device& device() const { return device_; }
  const plugin::Description& description() const { return description_; }
  const Steps& steps() const { return steps_; }
  // The first step after cut number `cut`.
  uint32_t step_at(uint32_t cut) const { return cut_steps_[cut]; }
  // A weight of a matmul, an embedding or experts.
  PreparedWeight prepared(uint32_t weight) const;
  // The op's weight of one dimension as float32, or NULL.
  const float* floats(uint32_t op) const { return floats_[op]; }
  const std::vector<Rotation>& rotations() const { return rotations_; }
  uint32_t rotation_of(uint32_t op) const { return rotation_of_[op]; }
  ContextMemory memory(uint32_t max_rows, uint32_t max_selected) const;
  // Offset in a worker's memory of what kernels use as scratch.
  size_t scratch_offset() const { return round_up(steps_.local_bytes, 64); }

 private:
  void prepare(uint32_t op);
  void prepare_matrix(uint32_t weight);
  void plan_packing();
  const float* floats_of(uint32_t weight);
  uint32_t find_rotation(uint32_t op);

  Device& device_;
  plugin::Description description_;
  Steps steps_;
  std::vector<uint32_t> cuts_, cut_steps_;
  std::vector<PreparedWeight> prepared_;     // per weight
  std::unique_ptr<PackedFile> packing_;      // NULL if the kernels read no packed weights
  std::atomic<bool> packed_{false};          // packing_ is mapped
  std::vector<const float*> floats_;         // per op
  std::vector<std::vector<float>> decoded_;  // per weight that is not F32 but needed so
  std::vector<uint32_t> rotation_of_;        // per op
  std::vector<Rotation> rotations_;
  size_t scratch_bytes_ = 0;
  uint64_t private_bytes_ = 0;
};

}  // namespace facet::cpu
