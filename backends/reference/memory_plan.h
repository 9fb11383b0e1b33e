// Which values of a program share memory.
//
//   slot   memory for one value at a time, for all its rows: as wide as the widest value that it ever holds.
//          Values of batch rows and of selected rows never share one.
// A value holds its slot from the op that writes it (an input: from the start) to the last op that reads it
// (an output: to the end). An op whose result has its input's shape may write over an input that ends there.
#pragma once

#include <facet/description.hpp>
#include <vector>

namespace facet::reference {

struct MemoryPlan {
  struct Slot {
    uint32_t rows;   // facet_rows_kind
    uint32_t width;  // floats per row
  };
  std::vector<Slot> slots;
  std::vector<uint32_t> slot_of;  // per value

  // `program` has passed verify().
  explicit MemoryPlan(const plugin::Description& program);
  // Of all slots, for so many rows.
  uint64_t bytes(uint32_t max_rows, uint32_t max_selected) const;

 private:
  void take(uint32_t value, const facet_value& shape);

  std::vector<uint32_t> free_;  // slots; only while planning
};

}  // namespace facet::reference
