#include "backends/reference/ops.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace facet::reference {
namespace {

// One op's view of its values: rows of x, y and out.
struct Rows {
  Rows(const Run& run, const facet_op& op) : x_(input(run, op, 0)), y_(input(run, op, 1)) {
    if (op.output == FACET_NONE) {
      count = run.rows(op.inputs[0]);
      return;
    }
    out_ = run.values[op.output];
    width = run.program.values[op.output].width;
    count = run.rows(op.output);
  }

  const float* x(size_t row) const { return x_.data + row * x_.width; }
  const float* y(size_t row) const { return y_.data + row * y_.width; }
  float* out(size_t row) const { return out_ + row * width; }
  uint32_t x_width() const { return x_.width; }

  uint32_t count = 0;  // rows of out; of x if there is no out
  uint32_t width = 0;  // of out

 private:
  struct Input {
    const float* data = nullptr;
    uint32_t width = 0;
  };
  static Input input(const Run& run, const facet_op& op, int index) {
    const uint32_t value = op.inputs[index];
    if (value == FACET_NONE) return {};
    return {run.values[value], run.program.values[value].width};
  }

  Input x_, y_;
  float* out_ = nullptr;
};

// Row `row` of one of the op's weights as float32, in the scratch; null if the op has none.
const float* weight_row(const Run& run, const facet_op& op, uint64_t row, int index = 0) {
  if (op.weights[index] == FACET_NONE) return nullptr;
  const facet_weight& weight = run.program.weights[op.weights[index]];
  const auto* data = static_cast<const std::byte*>(weight.data);
  facet_decode_row(weight.type, data + row * facet_row_bytes(weight.type, weight.dims[0]), weight.dims[0],
                   run.scratch.weight_row.data());
  return run.scratch.weight_row.data();
}

double dot(const float* a, const float* b, uint32_t count) {
  double sums[8] = {};
  uint32_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (uint32_t lane = 0; lane < 8; ++lane) sums[lane] += double{a[i + lane]} * double{b[i + lane]};
  }
  for (; i < count; ++i) sums[i % 8] += double{a[i]} * double{b[i]};
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

void embed(const Run& run, const facet_op& op, const Rows& rows) {
  for (uint32_t r = 0; r < rows.count; ++r) {
    const int32_t token = run.slice.rows.tokens[r];
    float* out = rows.out(r);
    if (token < 0) {
      const size_t number = static_cast<size_t>(-1 - int64_t{token});
      std::copy_n(run.slice.rows.embeddings + number * rows.width, rows.width, out);
      continue;
    }
    const float* row = weight_row(run, op, static_cast<uint64_t>(token));
    for (uint32_t i = 0; i < rows.width; ++i) out[i] = row[i] * op.p.embed.scale;
  }
}

void rms_norm(const Run& run, const facet_op& op, const Rows& rows) {
  const uint32_t segment = op.p.norm.segment;
  const float* weight = weight_row(run, op, 0);
  for (uint32_t r = 0; r < rows.count; ++r) {
    for (uint32_t start = 0; start < rows.width; start += segment) {
      const float* x = rows.x(r) + start;
      float* out = rows.out(r) + start;
      const double root = std::sqrt(dot(x, x, segment) / segment + double{op.p.norm.eps});
      for (uint32_t i = 0; i < segment; ++i) {
        out[i] = static_cast<float>(double{x[i]} / root * (weight != nullptr ? double{weight[i]} : 1.0));
      }
    }
  }
}

void matmul(const Run& run, const facet_op& op, const Rows& rows) {
  if (rows.count == 0) return;
  for (uint32_t j = 0; j < rows.width; ++j) {
    const float* weight = weight_row(run, op, j);
    for (uint32_t r = 0; r < rows.count; ++r) {
      rows.out(r)[j] = static_cast<float>(dot(rows.x(r), weight, rows.x_width()));
    }
  }
}

void rope(const Run& run, const facet_op& op, const Rows& rows) {
  const auto& p = op.p.rope;
  const uint32_t half = p.n_rot / 2;
  const float* factors = weight_row(run, op, 0);
  for (uint32_t r = 0; r < rows.count; ++r) {
    if (rows.out(r) != rows.x(r)) std::copy_n(rows.x(r), rows.width, rows.out(r));
  }
  for (uint32_t i = 0; i < half; ++i) {
    double frequency = double{p.freq_scale} * std::pow(double{p.base}, -2.0 * i / p.n_rot);
    if (factors != nullptr) frequency /= double{factors[i]};
    for (uint32_t r = 0; r < rows.count; ++r) {
      const double angle = run.slice.rows.positions[r] * frequency;
      const double cosine = std::cos(angle), sine = std::sin(angle);
      for (uint32_t head = 0; head < rows.width; head += p.head_dim) {
        float& a = rows.out(r)[head + i];
        float& b = rows.out(r)[head + i + half];
        const double x0 = double{a}, x1 = double{b};
        a = static_cast<float>(x0 * cosine - x1 * sine);
        b = static_cast<float>(x0 * sine + x1 * cosine);
      }
    }
  }
}

void cache_append(const Run& run, const facet_op& op, const Rows& rows) {
  const uint32_t layer = op.p.append.layer;
  const uint32_t group = run.program.cache.layers[layer].group;
  for (uint32_t r = 0; r < rows.count; ++r) {
    if (!run.slice.live(r)) continue;
    const facet_page_table& table = run.slice.table(run.slice.rows.sequences[r], group);
    run.cache->write(layer, table, run.slice.rows.positions[r], rows.x(r), rows.y(r));
  }
}

// Adds one position to a head's softmax: the sums stay scaled by exp(-largest).
void attend(double score, const float* value, uint32_t dim, double& largest, double& weight, double* sums) {
  if (score > largest) {
    const double shrink = std::exp(largest - score);  // 0 at the first position
    weight *= shrink;
    for (uint32_t i = 0; i < dim; ++i) sums[i] *= shrink;
    largest = score;
  }
  const double share = std::exp(score - largest);
  weight += share;
  for (uint32_t i = 0; i < dim; ++i) sums[i] += share * double{value[i]};
}

void attention_row(const Run& run, const facet_op& op, const float* query, uint32_t row, float* out) {
  const auto& p = op.p.attention;
  const facet_cache_layer& layer = run.program.cache.layers[p.layer];
  const facet_rows& batch = run.slice.rows;
  const facet_page_table& table = run.slice.table(batch.sequences[row], layer.group);
  const uint32_t group_heads = p.heads / layer.kv_heads;
  Scratch& s = run.scratch;
  std::fill_n(s.sums.begin(), size_t{p.heads} * layer.value_dim, 0.0);
  std::fill_n(s.largest.begin(), p.heads, -std::numeric_limits<double>::infinity());
  std::fill_n(s.weight.begin(), p.heads, 0.0);

  auto [position, end] = plugin::visible_positions(batch.positions[row], batch.last_visible[row], p.window);
  for (; position < end; ++position) {
    run.cache->read(p.layer, table, position, s.key.data(), s.value.data());
    for (uint32_t h = 0; h < p.heads; ++h) {
      const size_t kv = h / group_heads;
      const double product =
          dot(query + size_t{h} * layer.key_dim, &s.key[kv * layer.key_dim], layer.key_dim);
      attend(double{p.scale} * product, &s.value[kv * layer.value_dim], layer.value_dim, s.largest[h],
             s.weight[h], &s.sums[size_t{h} * layer.value_dim]);
    }
  }
  for (uint32_t h = 0; h < p.heads; ++h) {
    for (uint32_t i = 0; i < layer.value_dim; ++i) {
      const size_t at = size_t{h} * layer.value_dim + i;
      out[at] = static_cast<float>(s.sums[at] / s.weight[h]);
    }
  }
}

void attention(const Run& run, const facet_op& op, const Rows& rows) {
  for (uint32_t r = 0; r < rows.count; ++r) {
    if (run.slice.live(r)) {
      attention_row(run, op, rows.x(r), r, rows.out(r));
    } else {
      std::fill_n(rows.out(r), rows.width, 0.0f);
    }
  }
}

float gelu_tanh(double x) {
  const double inner = std::sqrt(2.0 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  return static_cast<float>(0.5 * x * (1.0 + std::tanh(inner)));
}

template <typename Function>
void elementwise(const Rows& rows, const Function& function) {
  for (uint32_t r = 0; r < rows.count; ++r) {
    for (uint32_t i = 0; i < rows.width; ++i) rows.out(r)[i] = function(rows.x(r)[i], r, i);
  }
}

void scale(const Run& run, const facet_op& op, const Rows& rows) {
  const float* weight = weight_row(run, op, 0);
  const bool per_column = weight != nullptr && run.program.weights[op.weights[0]].dims[0] != 1;
  elementwise(rows, [&](float x, uint32_t, uint32_t i) {
    const double scaled = double{x} * double{op.p.scale.factor};
    return static_cast<float>(weight == nullptr ? scaled : scaled * double{weight[per_column ? i : 0]});
  });
}

void soft_cap(const facet_op& op, const Rows& rows) {
  const double cap = double{op.p.soft_cap.cap};
  elementwise(rows, [&](float x, uint32_t, uint32_t) {
    return static_cast<float>(cap * std::tanh(double{x} / cap));
  });
}

void columns(const facet_op& op, const Rows& rows) {
  for (uint32_t r = 0; r < rows.count; ++r) {
    std::copy_n(rows.x(r) + op.p.columns.first, rows.width, rows.out(r));
  }
}

void select(const Run& run, const Rows& rows) {
  for (uint32_t i = 0; i < rows.count; ++i) {
    std::copy_n(rows.x(run.slice.rows.selected[i]), rows.width, rows.out(i));
  }
}

void route(const Run& run, const facet_op& op, const Rows& rows) {
  std::vector<double>& share = run.scratch.mix;
  for (uint32_t r = 0; r < rows.count; ++r) {
    const float* x = rows.x(r);
    float* out = rows.out(r);
    const double largest = double{*std::max_element(x, x + rows.width)};
    for (uint32_t e = 0; e < rows.width; ++e) share[e] = std::exp(double{x[e]} - largest);
    // The softmax's own divisor cancels. x and out may be the same memory, so choose by share from here on.
    std::fill_n(out, rows.width, 0.0f);
    double sum = 0;
    for (uint32_t n = 0; n < op.p.route.used; ++n) {
      uint32_t best = rows.width;
      for (uint32_t e = 0; e < rows.width; ++e) {
        if (out[e] == 0 && (best == rows.width || share[e] > share[best])) best = e;
      }
      out[best] = 1;
      sum += share[best];
    }
    for (uint32_t e = 0; e < rows.width; ++e) {
      if (out[e] != 0) out[e] = static_cast<float>(share[e] / sum);
    }
  }
}

// Adds one expert's answer to a row, times `share`, to the mix.
void add_expert(const Run& run, const facet_op& op, const float* x, uint32_t x_width, uint32_t width,
                uint32_t expert, double share) {
  const uint64_t inner = run.program.weights[op.weights[1]].dims[0];
  const bool has_ups = op.weights[2] != FACET_NONE;
  std::vector<float>& hidden = run.scratch.gate;
  for (uint64_t i = 0; i < inner; ++i) {
    const uint64_t gate_row = (has_ups ? inner : 2 * inner) * expert + i;
    const float gate = static_cast<float>(dot(x, weight_row(run, op, gate_row), x_width));
    const float* up_row =
        has_ups ? weight_row(run, op, inner * expert + i, 2) : weight_row(run, op, gate_row + inner);
    hidden[i] = gelu_tanh(double{gate}) * static_cast<float>(dot(x, up_row, x_width));
  }
  if (const float* factor = weight_row(run, op, 0, 3)) share *= double{factor[expert]};
  for (uint32_t j = 0; j < width; ++j) {
    const float* down = weight_row(run, op, uint64_t{width} * expert + j, 1);
    run.scratch.mix[j] += share * dot(hidden.data(), down, static_cast<uint32_t>(inner));
  }
}

void experts(const Run& run, const facet_op& op, const Rows& rows) {
  const uint32_t count = run.program.values[op.inputs[1]].width;
  for (uint32_t r = 0; r < rows.count; ++r) {
    std::fill_n(run.scratch.mix.begin(), rows.width, 0.0);
    for (uint32_t e = 0; e < count; ++e) {
      const float share = rows.y(r)[e];
      if (share > 0) add_expert(run, op, rows.x(r), rows.x_width(), rows.width, e, double{share});
    }
    for (uint32_t j = 0; j < rows.width; ++j) rows.out(r)[j] = static_cast<float>(run.scratch.mix[j]);
  }
}

void concat(const Run& run, const facet_op& op, const Rows& rows) {
  const uint32_t first = rows.x_width(), second = run.program.values[op.inputs[1]].width;
  for (uint32_t r = 0; r < rows.count; ++r) {
    std::copy_n(rows.x(r), first, rows.out(r));
    std::copy_n(rows.y(r), second, rows.out(r) + first);
  }
}

struct Sizes {
  uint64_t weight_row = 0, key = 0, value = 0, sums = 0, heads = 0, gate = 0, mix = 0;
};

Sizes scratch_sizes(const plugin::Description& program) {
  Sizes sizes;
  for (const facet_op& op : program.ops) {
    for (uint32_t weight : op.weights) {
      if (weight != FACET_NONE)
        sizes.weight_row = std::max(sizes.weight_row, program.weights[weight].dims[0]);
    }
    if (op.kind == FACET_OP_ROUTE || op.kind == FACET_OP_EXPERTS) {
      sizes.mix = std::max(sizes.mix, uint64_t{program.values[op.output].width});
    }
    if (op.kind == FACET_OP_EXPERTS) {
      sizes.gate = std::max(sizes.gate, program.weights[op.weights[1]].dims[0]);
    }
    if (op.kind != FACET_OP_ATTENTION) continue;
    const facet_cache_layer& layer = program.cache.layers[op.p.attention.layer];
    sizes.key = std::max(sizes.key, uint64_t{layer.kv_heads} * layer.key_dim);
    sizes.value = std::max(sizes.value, uint64_t{layer.kv_heads} * layer.value_dim);
    sizes.sums = std::max(sizes.sums, uint64_t{op.p.attention.heads} * layer.value_dim);
    sizes.heads = std::max(sizes.heads, uint64_t{op.p.attention.heads});
  }
  return sizes;
}

}  // namespace

Scratch::Scratch(const plugin::Description& program) {
  const Sizes sizes = scratch_sizes(program);
  weight_row.resize(sizes.weight_row);
  key.resize(sizes.key);
  value.resize(sizes.value);
  sums.resize(sizes.sums);
  largest.resize(sizes.heads);
  weight.resize(sizes.heads);
  gate.resize(sizes.gate);
  mix.resize(sizes.mix);
}

uint64_t Scratch::bytes(const plugin::Description& program) {
  const Sizes sizes = scratch_sizes(program);
  return (sizes.weight_row + sizes.key + sizes.value + sizes.gate) * sizeof(float) +
         (sizes.sums + 2 * sizes.heads + sizes.mix) * sizeof(double);
}

void run_op(const Run& run, const facet_op& op) {
  const Rows rows(run, op);
  switch (op.kind) {
    case FACET_OP_EMBED:
      return embed(run, op, rows);
    case FACET_OP_RMS_NORM:
      return rms_norm(run, op, rows);
    case FACET_OP_MATMUL:
      return matmul(run, op, rows);
    case FACET_OP_ROPE:
      return rope(run, op, rows);
    case FACET_OP_CACHE_APPEND:
      return cache_append(run, op, rows);
    case FACET_OP_ATTENTION:
      return attention(run, op, rows);
    case FACET_OP_GATED:
      return elementwise(rows, [&](float x, uint32_t r, uint32_t i) { return gelu_tanh(x) * rows.y(r)[i]; });
    case FACET_OP_ADD:
      return elementwise(rows, [&](float x, uint32_t r, uint32_t i) { return x + rows.y(r)[i]; });
    case FACET_OP_MUL:
      return elementwise(rows, [&](float x, uint32_t r, uint32_t i) { return x * rows.y(r)[i]; });
    case FACET_OP_SCALE:
      return scale(run, op, rows);
    case FACET_OP_SOFT_CAP:
      return soft_cap(op, rows);
    case FACET_OP_COLUMNS:
      return columns(op, rows);
    case FACET_OP_SELECT:
      return select(run, rows);
    case FACET_OP_ROUTE:
      return route(run, op, rows);
    case FACET_OP_EXPERTS:
      return experts(run, op, rows);
    case FACET_OP_CONCAT:
      return concat(run, op, rows);
  }
}

}  // namespace facet::reference
