#include "backends/reference/memory_plan.h"

namespace facet::reference {
namespace {

// Ops that read element i of a row before they write element i, and read no other element of that row after
// it was written.
bool may_overwrite_input(uint32_t kind) {
  return kind != FACET_OP_MATMUL && kind != FACET_OP_ATTENTION && kind != FACET_OP_COLUMNS &&
         kind != FACET_OP_SELECT && kind != FACET_OP_EXPERTS && kind != FACET_OP_CONCAT;
}

std::vector<size_t> last_reads(const plugin::Description& program) {
  std::vector<size_t> last(program.values.size(), 0);
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const facet_op& op = program.ops[i];
    if (op.output != FACET_NONE) last[op.output] = i;
    for (uint32_t input : op.inputs) {
      if (input != FACET_NONE) last[input] = i;
    }
  }
  for (const facet_port& output : program.outputs) last[output.value] = program.ops.size();
  return last;
}

}  // namespace

MemoryPlan::MemoryPlan(const plugin::Description& program) : slot_of(program.values.size(), FACET_NONE) {
  const std::vector<size_t> last = last_reads(program);
  for (const facet_port& input : program.inputs) take(input.value, program.values[input.value]);
  for (size_t i = 0; i < program.ops.size(); ++i) {
    const facet_op& op = program.ops[i];
    auto release = [&] {
      for (int n = 0; n < FACET_OP_MAX_INPUTS; ++n) {
        const uint32_t input = op.inputs[n];
        const bool again = std::find(op.inputs, op.inputs + n, input) != op.inputs + n;
        if (input != FACET_NONE && last[input] == i && !again) free_.push_back(slot_of[input]);
      }
    };
    if (may_overwrite_input(op.kind)) release();
    if (op.output != FACET_NONE) take(op.output, program.values[op.output]);
    if (!may_overwrite_input(op.kind)) release();
    if (op.output != FACET_NONE && last[op.output] == i) free_.push_back(slot_of[op.output]);
  }
}

// The narrowest free slot that is wide enough; else the widest, made wider; else a new one.
void MemoryPlan::take(uint32_t value, const facet_value& shape) {
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it) {
    if (slots[*it].rows != shape.rows) continue;
    if (best == free_.end()) {
      best = it;
      continue;
    }
    const uint32_t width = slots[*it].width, best_width = slots[*best].width;
    const bool fits = width >= shape.width, best_fits = best_width >= shape.width;
    if (fits != best_fits ? fits : fits ? width < best_width : width > best_width) best = it;
  }
  if (best == free_.end()) {
    slot_of[value] = static_cast<uint32_t>(slots.size());
    slots.push_back({shape.rows, shape.width});
    return;
  }
  slot_of[value] = *best;
  slots[*best].width = std::max(slots[*best].width, shape.width);
  free_.erase(best);
}

uint64_t MemoryPlan::bytes(uint32_t max_rows, uint32_t max_selected) const {
  uint64_t total = 0;
  for (const Slot& slot : slots) {
    const uint64_t rows = slot.rows == FACET_ROWS_BATCH ? max_rows : max_selected;
    total += rows * slot.width * sizeof(float);
  }
  return total;
}

}  // namespace facet::reference
