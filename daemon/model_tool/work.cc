#include "daemon/model_tool/work.h"

#include <facet/blocks.h>

#include <span>

namespace facet::model_tool {
namespace {

uint64_t elements(const facet_weight& weight) {
  uint64_t count = 1;
  for (uint64_t dim : weight.dims) count *= dim;
  return count;
}

// Bytes of one position's keys and values.
uint64_t position_bytes(const facet_cache_layout& cache, uint32_t layer) {
  const facet_cache_layer& shape = cache.layers[layer];
  return shape.kv_heads *
         (facet_row_bytes(cache.type, shape.key_dim) + facet_row_bytes(cache.type, shape.value_dim));
}

}  // namespace

Work work_of(const facet_program_desc& program) {
  Work work;
  for (const facet_op& op : std::span(program.ops, program.op_count)) {
    uint64_t bytes = 0, count = 0;
    for (uint32_t index : op.weights) {
      if (index == FACET_NONE) continue;
      bytes += program.weights[index].bytes;
      count += elements(program.weights[index]);
    }
    switch (op.kind) {
      case FACET_OP_EMBED:
        work.dense_bytes += bytes / program.weights[op.weights[0]].dims[1];
        break;
      case FACET_OP_EXPERTS: {
        work.expert_choices = program.weights[op.weights[0]].dims[2];
        work.experts_bytes += bytes;
        work.row_macs += count / work.expert_choices * work.experts_chosen;
        break;
      }
      case FACET_OP_ROUTE:
        work.experts_chosen = op.p.route.used;
        break;
      case FACET_OP_MATMUL: {
        const bool selected = program.values[op.output].rows == FACET_ROWS_SELECTED;
        (selected ? work.selected_macs : work.row_macs) += count;
        work.dense_bytes += bytes;
        break;
      }
      case FACET_OP_ATTENTION:
        work.cache_bytes[op.p.attention.window] += position_bytes(*program.cache, op.p.attention.layer);
        break;
      default:
        work.dense_bytes += bytes;
    }
  }
  return work;
}

}  // namespace facet::model_tool
