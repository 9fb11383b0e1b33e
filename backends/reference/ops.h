// What each op computes, in plain scalar code: the meaning of a program.
//
// Arithmetic "reference/1": values are float32. Products and sums within a row (dot products, means, softmax)
// are taken in double and rounded once; so are functions (tanh, exp, sin, cos, pow). A dot product keeps
// eight partial sums, element i in sum i % 8, and adds those pairwise. Attention visits positions in
// ascending order. Weights are decoded by facet/blocks.h to float32, keys and values read back as the cache
// stores them.
#pragma once

#include <facet/backend.hpp>
#include <vector>

#include "backends/reference/cache.h"

namespace facet::reference {

// Memory for what an op needs besides its values; the same for any number of rows.
struct Scratch {
  std::vector<float> weight_row;  // one decoded row of a weight
  std::vector<float> key, value;  // of one position, all KV heads
  std::vector<double> sums;       // attention: sum of exp * value, [heads, value_dim]
  std::vector<double> largest;    // [heads], largest score so far
  std::vector<double> weight;     // [heads], sum of exp(score - largest)
  std::vector<float> gate;        // experts: of one row and one expert, [inner]
  std::vector<double>
      mix;  // experts: sum over the experts of one row, [out.width]; route: softmax, [experts]

  explicit Scratch(const plugin::Description& program);
  static uint64_t bytes(const plugin::Description& program);
};

struct Run {
  const plugin::Description& program;
  const plugin::Slice& slice;
  PagedCache* cache;
  const std::vector<float*>& values;  // per value: [rows, width]
  Scratch& scratch;

  uint32_t rows(uint32_t value) const {
    return program.values[value].rows == FACET_ROWS_BATCH ? slice.rows.count : slice.rows.selected_count;
  }
};

// Runs one op of a verified program for the rows of a verified slice.
void run_op(const Run& run, const facet_op& op);

}  // namespace facet::reference
