// One slice of a program being run, step by step, by the device's workers. Lives for as long as the slice
// runs. What a function that returns Jobs is given by reference lives longer.
#pragma once

#include <facet/backend.hpp>

#include <array>
#include <span>
#include <vector>

#include "backends/onednn/cache.h"
#include "backends/onednn/dense.h"
#include "backends/onednn/jobs.h"
#include "backends/onednn/program.h"

namespace facet::cpu {

class Run {
 public:
  // `memory` is laid out as `layout` says. `cache` is null if the program uses none.
  Run(const Program& program, const ContextMemory& layout, std::byte* memory, const plugin::Slice& slice,
      const Cache* cache);

  Jobs jobs();

 private:
  // Consecutive rows.
  struct Stretch {
    uint32_t first, count;
  };
  using Stretches = std::vector<Stretch>;

  void read_inputs();
  Jobs rotate_rows();
  // Of live rows of one sequence each.
  void find_stretches();
  // Of rows of a kind that are live, or so few between live ones that leaving them out of a product saves
  // nothing.
  Stretches find_spans(uint32_t kind) const;

  // One step, or matmuls of one input in one.
  Jobs run_steps(std::span<const Step> steps);
  Jobs run_rows(const Step& step);
  // Elements [first, first + count) of the outputs of elementwise ops; whole rows of the others.
  void run_row_op(const RowOp& row_op, uint32_t row, uint32_t worker, uint32_t first, uint32_t count) const;
  void embed(const RowOp& row_op, uint32_t row, float* out) const;
  void rope(const RowOp& row_op, uint32_t row, const float* x, float* out) const;
  void append(const RowOp& row_op, uint32_t row, const float* key, const float* value, uint32_t worker) const;

  Jobs run_matmuls(std::span<const Step> steps);
  // Some rows times a matrix.
  struct Product {
    PreparedWeight weight;
    const std::byte* acts;  // [rows], of act_kind(weight.type)
    float* out;             // [rows, weight.outputs]
    size_t act_stride;      // bytes
    uint32_t rows;
    Stretches spans;  // of them that are computed; all where there are few
  };
  // The part of a product that is one tile.
  struct Piece {
    const Product* product;
    uint32_t row, rows, output, outputs;
  };
  Jobs multiply(std::vector<Product> products);
  void cut(const Product& product, size_t left, std::vector<Piece>& pieces) const;
  // Some rows that chose the same expert, as places.
  struct Group {
    uint32_t expert, first, count;
  };
  Jobs run_experts(const Experts& experts);
  Jobs fill_places(const Experts& experts, const std::vector<uint32_t>& places_of_rows);
  std::vector<Product> products(const std::vector<Group>& groups, uint32_t weight, uint32_t in, uint32_t out,
                                uint32_t used) const;
  void quantise(const float* x, ActKind kind, uint32_t width, std::byte* out) const;
  Jobs run_attention(uint32_t op);

  const facet_op& op(uint32_t number) const { return program_.description().ops[number]; }
  const Slot& slot(uint32_t number) const { return program_.steps().slots[number]; }
  uint32_t rows_of(uint32_t kind) const {
    return kind == FACET_ROWS_BATCH ? slice_.rows.count : slice_.rows.selected_count;
  }
  bool live(uint32_t kind, uint32_t row) const {
    return slice_.live(kind == FACET_ROWS_BATCH ? row : slice_.rows.selected[row]);
  }
  std::byte* row_of(uint32_t number, uint32_t row, uint32_t worker) const {
    const Slot& s = slot(number);
    if (s.local) return worker_memory(worker) + s.local_offset;
    return memory_ + layout_.values.offsets[number] + row * s.row_bytes;
  }
  // Place `number` of a slot of places.
  std::byte* place_of(uint32_t slot_number, uint32_t used, uint32_t number) const {
    return memory_ + layout_.values.offsets[slot_number] + number * (slot(slot_number).row_bytes / used);
  }
  std::byte* worker_memory(uint32_t worker) const {
    return memory_ + layout_.workers + worker * layout_.worker_bytes;
  }
  std::byte* scratch(uint32_t worker) const { return worker_memory(worker) + program_.scratch_offset(); }
  // cos [n_rot/2], then sin.
  float* rotation(uint32_t number, uint32_t row) const;

  const Program& program_;
  const Kernels& kernels_;
  const uint32_t workers_;
  Dense* dense_;
  const ContextMemory& layout_;
  std::byte* memory_;
  const plugin::Slice& slice_;
  const Cache* cache_;
  Stretches stretches_;
  std::array<Stretches, 2> spans_;  // by kind of rows
};

}  // namespace facet::cpu
