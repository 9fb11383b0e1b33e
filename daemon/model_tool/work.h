// The work of a program: what must be read and multiplied, whatever the backend.
//
//   weight bytes   of all weights that one row reads: matrices, those of the experts that it chooses, and one
//                  row of a table by token. A step reads the matrices once for all of its rows.
//   MACs           multiply-accumulates of matrices and rows; attention is not among them
//   cache bytes    of keys and values, per position that a row sees, over all layers with the same window
#pragma once

#include <facet/backend.h>

#include <cstdint>
#include <map>

namespace facet::model_tool {

struct Work {
  uint64_t dense_bytes = 0;                  // weights without those of experts
  uint64_t experts_bytes = 0;                // the weights of all experts
  uint64_t expert_choices = 1;               // experts of a layer; the same in all layers
  uint64_t experts_chosen = 1;               // of these by a row
  uint64_t row_macs = 0;                     // per row of a batch
  uint64_t selected_macs = 0;                // per row of which the logits are asked, in addition
  std::map<uint32_t, uint64_t> cache_bytes;  // by window, 0 for none
};

// `program` is one that was checked (facet/verify.hpp).
Work work_of(const facet_program_desc& program);

}  // namespace facet::model_tool
