// What a program becomes: steps, each done by all workers before the next begins.
//
//   slot       memory for one value, or for one value quantised, of all rows of a run. A local slot is needed
//              within one step only and has one row per worker.
//   row op     an op that makes a row from the same row of its inputs. All ops but MATMUL and ATTENTION; and
//              the quantisation of a value for the matmuls that read it.
//   rows step  row ops, run one after the other on each row.
//   matmul step, attention step   one matmul, one attention. Matmuls that are ready at the same time follow
//              each other, and are computed in one where a slice has several.
//   experts step   one mixture of experts. A place is a row together with one of the experts that it chose;
//              places are in the order of experts, then of rows, so that the rows of an expert are a matrix.
#pragma once

#include <facet/description.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/onednn/kernels.h"

namespace facet::cpu {

struct Slot {
  uint32_t rows;  // facet_rows_kind
  size_t row_bytes;
  uint32_t first_step = FACET_NONE, last_step = 0;  // where it is written and last read
  bool local = false;
  size_t local_offset = 0;  // in a worker's memory, if local
};

struct RowOp {
  uint32_t op;  // number of the program's op; FACET_NONE: quantise x as `kind`
  uint32_t x = FACET_NONE, y = FACET_NONE, out = FACET_NONE;  // slots
  ActKind kind = ActKind::kFloat;
};

struct Matmul {
  uint32_t op = FACET_NONE;
  uint32_t x = FACET_NONE, out = FACET_NONE;  // slots; x is of the kind that the weight's type reads
};

// The slots from gate_in on have `used` places for each row.
struct Experts {
  uint32_t op = FACET_NONE;
  // Slots of the op's values.
  uint32_t x = FACET_NONE, shares = FACET_NONE, out = FACET_NONE;
  uint32_t used = 0;  // the most experts that a row chooses
  // x of each place, as the gates and the ups read it; the same slot where they agree.
  uint32_t gate_in = FACET_NONE, up_in = FACET_NONE;
  uint32_t gate = FACET_NONE, up = FACET_NONE;  // no up where gate holds both
  uint32_t hidden = FACET_NONE;                 // as the downs read it
  uint32_t down = FACET_NONE;
};

enum class StepKind { kRows, kMatmul, kAttention, kExperts };

struct Step {
  StepKind kind = StepKind::kRows;
  uint32_t rows = FACET_ROWS_BATCH;  // of a rows step: facet_rows_kind of its ops
  bool by_columns = false;           // of a rows step: elementwise throughout, so columns may be shared out
  std::vector<RowOp> row_ops;
  Matmul matmul;
  // It may be computed in one with the step before it, which is a matmul, too: neither reads what the other
  // writes.
  bool joins = false;
  uint32_t attention = FACET_NONE;  // op
  Experts experts;
  uint32_t cut = 0;  // if not 0: after this step exactly the ops [0, cut) are done
};

struct Steps {
  std::vector<Slot> slots;  // those of the program's values first, in their order
  std::vector<Step> steps;
  size_t local_bytes = 0;  // of a worker's memory for local slots
};

// Where the slots lie in one block of memory, at multiples of 64 bytes; slots that are never alive in the
// same step may share a place. Local ones get no place (offset 0).
struct Arena {
  std::vector<size_t> offsets;
  size_t bytes = 0;
};

// Groups the ops of a verified program into steps. Ops change places only between two attentions.
Steps fuse(const plugin::Description& program);

Arena plan(const Steps& steps, uint32_t max_rows, uint32_t max_selected);

}  // namespace facet::cpu
