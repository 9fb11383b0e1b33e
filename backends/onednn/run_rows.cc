// The row ops of a run.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/onednn/device.h"
#include "backends/onednn/run.h"

namespace facet::cpu {
namespace {

// The shares of the `used` largest of x [n], as FACET_OP_ROUTE has them.
void route(const float* x, uint32_t n, uint32_t used, float* out) {
  std::fill_n(out, n, 0.0f);
  double sum = 0, greatest = 0;
  for (uint32_t i = 0; i < used; ++i) {
    uint32_t best = n;
    for (uint32_t e = 0; e < n; ++e) {
      if (out[e] == 0 && (best == n || x[e] > x[best])) best = e;
    }
    if (i == 0) greatest = double{x[best]};
    out[best] = 1;
    sum += std::exp(double{x[best]} - greatest);
  }
  for (uint32_t e = 0; e < n; ++e) {
    if (out[e] != 0) out[e] = static_cast<float>(std::exp(double{x[e]} - greatest) / sum);
  }
}

}  // namespace

Jobs Run::run_rows(const Step& step) {
  const uint32_t rows = rows_of(step.rows);
  if (rows == 0) co_return;
  // A few wide rows are shared out by columns, others by groups of rows.
  constexpr uint32_t kColumns = 4096;
  const auto width =
      static_cast<uint32_t>(step.by_columns ? slot(step.row_ops[0].out).row_bytes / sizeof(float) : 0);
  if (rows < 2 * workers_ && width > kColumns) {
    const uint32_t parts = (width + kColumns - 1) / kColumns;
    const auto run_columns = [&](uint32_t piece, uint32_t worker) {
      if (!live(step.rows, piece / parts)) return;
      const uint32_t first = piece % parts * kColumns;
      for (const RowOp& row_op : step.row_ops) {
        run_row_op(row_op, piece / parts, worker, first, std::min(kColumns, width - first));
      }
    };
    co_yield Job(rows * parts, run_columns);
    co_return;
  }
  const uint32_t group = std::clamp(rows / (4 * workers_), 1u, 16u);
  const auto run_group = [&](uint32_t piece, uint32_t worker) {
    const uint32_t end = std::min(rows, (piece + 1) * group);
    for (uint32_t row = piece * group; row < end; ++row) {
      if (!live(step.rows, row)) continue;
      for (const RowOp& row_op : step.row_ops) {
        uint32_t out = row_op.out == FACET_NONE ? row_op.x : row_op.out;
        run_row_op(row_op, row, worker, 0, static_cast<uint32_t>(slot(out).row_bytes / sizeof(float)));
      }
    }
  };
  co_yield Job((rows + group - 1) / group, run_group);
}

void Run::run_row_op(const RowOp& row_op, uint32_t row, uint32_t worker, uint32_t first,
                     uint32_t count) const {
  auto floats = [&](uint32_t number) {
    return number == FACET_NONE ? nullptr : reinterpret_cast<float*>(row_of(number, row, worker)) + first;
  };
  if (row_op.op == FACET_NONE) {
    auto width = static_cast<uint32_t>(slot(row_op.x).row_bytes / sizeof(float));
    quantise(floats(row_op.x), row_op.kind, width, row_of(row_op.out, row, worker));
    return;
  }
  const facet_op& op = this->op(row_op.op);
  float* out = floats(row_op.out);
  if (op.kind == FACET_OP_EMBED) return embed(row_op, row, out);
  if (op.kind == FACET_OP_SELECT) {
    const std::byte* x = row_of(row_op.x, slice_.rows.selected[row], worker);
    std::memcpy(out, x, count * sizeof(float));
    return;
  }
  const float *x = floats(row_op.x), *y = floats(row_op.y), *w = program_.floats(row_op.op);
  switch (op.kind) {
    case FACET_OP_RMS_NORM:
      return kernels_.rms_norm(x, w, op.p.norm.segment, count / op.p.norm.segment, op.p.norm.eps, out);
    case FACET_OP_ROPE:
      return rope(row_op, row, x, out);
    case FACET_OP_CACHE_APPEND:
      return append(row_op, row, x, y, worker);
    case FACET_OP_GATED:
      return kernels_.gelu_gated(x, y, count, out);
    case FACET_OP_ADD:
      return kernels_.add(x, y, count, out);
    case FACET_OP_MUL:
      return kernels_.mul(x, y, count, out);
    case FACET_OP_SCALE: {
      kernels_.scale(x, op.p.scale.factor, count, out);
      if (w == nullptr) return;
      bool one = program_.description().weights[op.weights[0]].dims[0] == 1;
      return one ? kernels_.scale(out, *w, count, out) : kernels_.mul(out, w + first, count, out);
    }
    case FACET_OP_SOFT_CAP:
      return kernels_.soft_cap(x, op.p.soft_cap.cap, count, out);
    case FACET_OP_COLUMNS:
      std::memcpy(out, x + op.p.columns.first, count * sizeof(float));
      return;
    case FACET_OP_CONCAT: {
      const size_t x_bytes = slot(row_op.x).row_bytes;
      std::memcpy(out, x, x_bytes);
      std::memcpy(out + x_bytes / sizeof(float), y, slot(row_op.y).row_bytes);
      return;
    }
    case FACET_OP_ROUTE:
      return route(x, count, op.p.route.used, out);
  }
}

void Run::embed(const RowOp& row_op, uint32_t row, float* out) const {
  const PreparedWeight table = program_.prepared(op(row_op.op).weights[0]);
  const int32_t token = slice_.rows.tokens[row];
  if (token < 0) {
    std::memcpy(out, slice_.rows.embeddings + size_t{table.width} * static_cast<size_t>(-1 - token),
                table.width * sizeof(float));
    return;
  }
  facet_decode_row(table.type, table.rows + static_cast<size_t>(token) * table.stride, table.width, out);
  kernels_.scale(out, op(row_op.op).p.embed.scale, table.width, out);
}

void Run::quantise(const float* x, ActKind kind, uint32_t width, std::byte* out) const {
  switch (kind) {
    case ActKind::kFloat:
      std::memcpy(out, x, width * sizeof(float));
      return;
    case ActKind::kBlocks:
      return kernels_.quantise(x, width, out);
  }
}

void Run::rope(const RowOp& row_op, uint32_t row, const float* x, float* out) const {
  const auto& p = op(row_op.op).p.rope;
  const float* cos = rotation(program_.rotation_of(row_op.op), row);
  const size_t width = slot(row_op.out).row_bytes / sizeof(float);
  for (size_t head = 0; head < width; head += p.head_dim) {
    kernels_.rope(x + head, cos, cos + p.n_rot / 2, p.head_dim, p.n_rot, out + head);
  }
}

void Run::append(const RowOp& row_op, uint32_t row, const float* key, const float* value,
                 uint32_t worker) const {
  const uint32_t layer = op(row_op.op).p.append.layer;
  const uint32_t group = program_.description().cache.layers[layer].group;
  const auto page_positions = static_cast<int32_t>(program_.description().cache.groups[group].page_positions);
  const facet_page_table& table = slice_.table(slice_.rows.sequences[row], group);
  const int32_t position = slice_.rows.positions[row];
  const uint32_t page = table.pages[static_cast<uint32_t>(position / page_positions) - table.first_block];
  cache_->append(kernels_, layer, page, static_cast<uint32_t>(position % page_positions), key, value,
                 scratch(worker));
}

}  // namespace facet::cpu
