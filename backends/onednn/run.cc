#include "backends/onednn/run.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/onednn/device.h"
#include "backends/onednn/tile_size.h"

namespace facet::cpu {

Run::Run(const Program& program, const ContextMemory& layout, std::byte* memory, const plugin::Slice& slice,
         const Cache* cache)
    : program_(program),
      kernels_(program.device().kernels()),
      workers_(program.device().pool().workers()),
      dense_(program.device().dense()),
      layout_(layout),
      memory_(memory),
      slice_(slice),
      cache_(cache) {}

Jobs Run::jobs() {
  if (slice_.first_cut == 0) {
    read_inputs();
    for (Jobs rows = rotate_rows(); rows.next();) co_yield rows.job();
  }
  find_stretches();
  for (const uint32_t kind : {FACET_ROWS_BATCH, FACET_ROWS_SELECTED}) spans_[kind] = find_spans(kind);
  const std::span<const Step> steps = program_.steps().steps;
  const uint32_t end = program_.step_at(slice_.last_cut);
  for (uint32_t first = program_.step_at(slice_.first_cut), next; first < end; first = next) {
    next = first + 1;
    while (next < end && steps[next].joins) ++next;
    for (Jobs step = run_steps(steps.subspan(first, next - first)); step.next();) co_yield step.job();
  }
}

Jobs Run::run_steps(std::span<const Step> steps) {
  const Step& step = steps.front();
  switch (step.kind) {
    case StepKind::kRows:
      return run_rows(step);
    case StepKind::kMatmul:
      return run_matmuls(steps);
    case StepKind::kAttention:
      return run_attention(step.attention);
    case StepKind::kExperts:
      break;
  }
  return run_experts(step.experts);
}

void Run::read_inputs() {
  for (const facet_input& input : slice_.inputs) {
    uint32_t value = program_.description().inputs[input.port].value;
    size_t bytes = rows_of(slot(value).rows) * slot(value).row_bytes;
    if (bytes != 0) std::memcpy(row_of(value, 0, 0), input.data, bytes);
  }
}

float* Run::rotation(uint32_t number, uint32_t row) const {
  size_t offset = 0;
  for (uint32_t i = 0; i < number; ++i) offset += program_.rotations()[i].n_rot * sizeof(float);
  return reinterpret_cast<float*>(memory_ + layout_.rotations + row * layout_.rotation_row + offset);
}

// Sines and cosines of all rows, for all layers.
Jobs Run::rotate_rows() {
  if (program_.rotations().empty()) co_return;
  const auto rotate = [&](uint32_t row, uint32_t) {
    for (uint32_t r = 0; r < program_.rotations().size(); ++r) {
      const Rotation& rotation_kind = program_.rotations()[r];
      const size_t half = rotation_kind.frequencies.size();
      float* cos = rotation(r, row);
      for (size_t i = 0; i < half; ++i) {
        double angle = slice_.rows.positions[row] * rotation_kind.frequencies[i];
        cos[i] = static_cast<float>(std::cos(angle));
        cos[half + i] = static_cast<float>(std::sin(angle));
      }
    }
  };
  co_yield Job(slice_.rows.count, rotate);
}

void Run::find_stretches() {
  const facet_rows& rows = slice_.rows;
  for (uint32_t row = 0; row < rows.count; ++row) {
    if (!slice_.live(row)) continue;
    Stretch* last = stretches_.empty() ? nullptr : &stretches_.back();
    if (last != nullptr && last->first + last->count == row &&
        rows.sequences[last->first] == rows.sequences[row]) {
      ++last->count;
    } else {
      stretches_.push_back({row, 1});
    }
  }
}

Run::Stretches Run::find_spans(uint32_t kind) const {
  constexpr uint32_t kLeastGap = 8;
  Stretches spans;
  for (uint32_t row = 0; row < rows_of(kind); ++row) {
    if (!live(kind, row)) continue;
    if (spans.empty() || spans.back().first + spans.back().count + kLeastGap <= row)
      spans.push_back({row, 0});
    spans.back().count = row + 1 - spans.back().first;
  }
  return spans;
}

Jobs Run::run_matmuls(std::span<const Step> steps) {
  std::vector<Product> products;
  for (const Step& step : steps) {
    const Matmul& matmul = step.matmul;
    const uint32_t kind = slot(matmul.out).rows;
    products.push_back({program_.prepared(op(matmul.op).weights[0]), row_of(matmul.x, 0, 0),
                        reinterpret_cast<float*>(row_of(matmul.out, 0, 0)), slot(matmul.x).row_bytes,
                        rows_of(kind), spans_[kind]});
  }
  return multiply(std::move(products));
}

Jobs Run::multiply(std::vector<Product> products) {
  std::vector<Piece> pieces;
  size_t left = 0;  // bytes of weights that have no piece yet
  for (const Product& product : products) left += product.weight.stride * product.weight.outputs;
  for (const Product& product : products) {
    cut(product, left, pieces);
    left -= product.weight.stride * product.weight.outputs;
  }
  const auto multiply_piece = [&](uint32_t number, uint32_t worker) {
    const Piece& piece = pieces[number];
    const Product& product = *piece.product;
    const PreparedWeight& weight = product.weight;
    MatmulTile tile{};
    tile.type = weight.type;
    tile.width = weight.width;
    tile.weights = weight.rows + piece.output * weight.stride;
    tile.weight_stride = weight.stride;
    if (weight.packed != nullptr) tile.packed = weight.packed + piece.output * weight.stride;
    tile.acts = product.acts + piece.row * product.act_stride;
    tile.act_stride = product.act_stride;
    tile.rows = piece.rows;
    tile.outputs = piece.outputs;
    tile.out = product.out + size_t{piece.row} * weight.outputs + piece.output;
    tile.out_stride = weight.outputs;
    tile.scratch = scratch(worker);
    if (weight.by_dense) {
      dense_->matmul(worker, tile);
    } else {
      kernels_.matmul(tile);
    }
  };
  co_yield Job(static_cast<uint32_t>(pieces.size()), multiply_piece);
}

// Appends the pieces of a product; `left` bytes of weights, these included, have none yet.
void Run::cut(const Product& product, size_t left, std::vector<Piece>& pieces) const {
  const PreparedWeight& weight = product.weight;
  // oneDNN gets an output in the same piece always.
  if (product.rows <= 8 && !weight.by_dense) {
    // The time goes to reading weights, and each piece begins with a wait for the first of them. So pieces
    // are large, and smaller towards the end, where the workers are to finish together.
    for (uint32_t output = 0; output < weight.outputs;) {
      const size_t bytes = std::clamp<size_t>(left / (2 * workers_), 32 * 1024, 1024 * 1024);
      const auto most = static_cast<uint32_t>(std::max<size_t>(bytes / weight.stride / 16 * 16, 16));
      const uint32_t outputs = std::min(most, weight.outputs - output);
      if (product.rows != 0) pieces.push_back({&product, 0, product.rows, output, outputs});
      left -= outputs * weight.stride;
      output += outputs;
    }
    return;
  }
  const uint32_t piece_rows = tile_rows(product.act_stride);
  for (const Stretch& span : product.spans) {
    const uint32_t end = span.first + span.count;
    for (uint32_t row = span.first; row < end; row += piece_rows) {
      for (uint32_t output = 0; output < weight.outputs; output += kTileOutputs) {
        pieces.push_back({&product, row, std::min(piece_rows, end - row), output,
                          std::min(kTileOutputs, weight.outputs - output)});
      }
    }
  }
}

Jobs Run::run_attention(uint32_t number) {
  const facet_op& attention = op(number);
  const auto& p = attention.p.attention;
  const facet_cache_layer& layer = program_.description().cache.layers[p.layer];
  const uint32_t page_positions = program_.description().cache.groups[layer.group].page_positions;
  const uint32_t shared = p.heads / layer.kv_heads;  // heads that read the same keys

  // A piece: some rows of one sequence, times some of the heads that share a KV head.
  uint32_t piece_heads = std::min(shared, kMaxQueries);
  const uint32_t piece_rows = kMaxQueries / piece_heads;
  std::vector<Stretch> parts;
  for (const Stretch& stretch : stretches_) {
    for (uint32_t row = 0; row < stretch.count; row += piece_rows) {
      parts.push_back({stretch.first + row, std::min(piece_rows, stretch.count - row)});
    }
  }
  const auto part_count = static_cast<uint32_t>(parts.size());
  auto splits = [&] { return (shared + piece_heads - 1) / piece_heads; };
  while (part_count * layer.kv_heads * splits() < workers_ && piece_heads > 1) {
    piece_heads = (piece_heads + 1) / 2;
  }
  const uint32_t pieces_per_part = layer.kv_heads * splits();

  const auto attend = [&](uint32_t piece, uint32_t) {
    const Stretch& part = parts[piece / pieces_per_part];
    const uint32_t kv_head = piece % pieces_per_part / splits();
    const uint32_t first_head = kv_head * shared + piece % splits() * piece_heads;
    const uint32_t end_head = std::min(first_head + piece_heads, (kv_head + 1) * shared);
    Query queries[kMaxQueries];
    AttentionTile tile{};
    tile.queries = queries;
    for (uint32_t row = part.first; row < part.first + part.count; ++row) {
      auto [first, end] =
          plugin::visible_positions(slice_.rows.positions[row], slice_.rows.last_visible[row], p.window);
      for (uint32_t head = first_head; head < end_head; ++head) {
        auto* q = reinterpret_cast<const float*>(row_of(attention.inputs[0], row, 0));
        auto* out = reinterpret_cast<float*>(row_of(attention.output, row, 0));
        queries[tile.count++] = {q + size_t{head} * layer.key_dim, out + size_t{head} * layer.value_dim,
                                 first, end};
      }
    }
    const facet_page_table& table = slice_.table(slice_.rows.sequences[part.first], layer.group);
    const CacheShape& shape = cache_->shape();
    tile.key_dim = layer.key_dim;
    tile.value_dim = layer.value_dim;
    tile.scale = p.scale;
    tile.type = cache_->layout().type;
    tile.pages = table.pages;
    tile.first_block = table.first_block;
    tile.page_positions = page_positions;
    tile.head =
        cache_->page(layer.group, 0) + shape.layer_offset(p.layer) + kv_head * shape.head_bytes(p.layer);
    tile.page_bytes = shape.page_bytes(layer.group);
    kernels_.attention(tile);
  };
  co_yield Job(part_count * pieces_per_part, attend);
}

}  // namespace facet::cpu
