// Rows of a table of the model file, one per token of a batch, as an input of a program.
//
// For tables that stay on the host because a device has no room for them (per-layer embeddings are half of a
// small model's file): a row is read and decoded when its token is in a batch, and nothing else of the table
// is touched.
#pragma once

#include <facet/backend.h>

#include <span>
#include <vector>

#include "daemon/model/gguf.h"

namespace facet::engine {

class TokenRows {
 public:
  // `table` is of a file that outlives the object; `port` is the input of the program that takes its rows.
  TokenRows(const model::GgufTensor& table, uint32_t port, uint32_t max_rows);

  // Bytes that an object for these takes.
  static uint64_t bytes(const model::GgufTensor& table, uint32_t max_rows);
  // The rows of these tokens (at most max_rows, each a row of the table), valid until the next call.
  facet_input fill(std::span<const int32_t> tokens);

 private:
  const model::GgufTensor& table_;
  uint32_t port_;
  std::vector<float> rows_;  // [max_rows, row of the table]
};

}  // namespace facet::engine
