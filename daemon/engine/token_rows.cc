#include "daemon/engine/token_rows.h"

#include <facet/blocks.h>

#include "daemon/base/mapped_file.h"

namespace facet::engine {

TokenRows::TokenRows(const model::GgufTensor& table, uint32_t port, uint32_t max_rows)
    : table_(table), port_(port), rows_(max_rows * table.dims[0]) {
  expect_rows(table.data);
}

uint64_t TokenRows::bytes(const model::GgufTensor& table, uint32_t max_rows) {
  return max_rows * table.dims[0] * sizeof(float);
}

facet_input TokenRows::fill(std::span<const int32_t> tokens) {
  const uint64_t width = table_.dims[0], bytes = table_.row_bytes();
  for (size_t row = 0; row < tokens.size(); ++row) {
    const std::byte* data = table_.data.data() + static_cast<uint64_t>(tokens[row]) * bytes;
    facet_decode_row(table_.type, data, width, &rows_[row * width]);
  }
  facet_input input{};
  input.size = sizeof input;
  input.port = port_;
  input.data = rows_.data();
  return input;
}

}  // namespace facet::engine
