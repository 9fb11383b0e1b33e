// Attention of one tile over lanes (lanes.h).
//
// Per query and key block, in the order of positions: scores of the block's visible keys, each one sum over
// the elements of a key in ascending order; then the running maximum and sum of weights are brought up to
// date (what was gathered so far is scaled down where the maximum grows), then the weighted values are added,
// position by position. Which other queries share the tile changes nothing.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include "backends/onednn/kernels.h"
#include "backends/onednn/lanes.h"

namespace facet::cpu {
namespace {

// sums[n][0..C::kCount*W) += sum over k in [k0, k1) of a[n][k] * b[k][the same], b [.., stride]. Each column
// is a sum of its own, so how many of them are side by side changes nothing.
template <typename C, int N, int W, typename T>
inline void rank_update(const float* const* a, const T* b, size_t stride, uint32_t k0, uint32_t k1,
                        float* const* sums, uint32_t column) {
  typename C::V acc[N][W];
  for (int n = 0; n < N; ++n) {
    for (int w = 0; w < W; ++w) acc[n][w] = C::load(sums[n] + column + C::kCount * w);
  }
  for (uint32_t k = k0; k < k1; ++k) {
    typename C::V v[W];
    for (int w = 0; w < W; ++w) v[w] = C::load(b + k * stride + column + C::kCount * w);
    for (int n = 0; n < N; ++n) {
      for (int w = 0; w < W; ++w) acc[n][w] = C::fma(a[n][k], v[w], acc[n][w]);
    }
  }
  for (int n = 0; n < N; ++n) {
    for (int w = 0; w < W; ++w) C::store(sums[n] + column + C::kCount * w, acc[n][w]);
  }
}

// The same for the first `columns` columns.
template <typename L, int N, typename T>
inline void rank_update_all(const float* const* a, const T* b, size_t stride, uint32_t k0, uint32_t k1,
                            float* const* sums, uint32_t columns) {
  using C = typename L::Columns;
  uint32_t c = 0;
  for (; c + 2 * C::kCount <= columns; c += 2 * C::kCount) {
    rank_update<C, N, 2>(a, b, stride, k0, k1, sums, c);
  }
  for (; c + C::kCount <= columns; c += C::kCount) rank_update<C, N, 1>(a, b, stride, k0, k1, sums, c);
  for (; c < columns; c += 8) {
    const uint32_t count = columns - c < 8 ? columns - c : 8;
    for (int n = 0; n < N; ++n) {
      auto acc = L::load_first(sums[n] + c, count);
      for (uint32_t k = k0; k < k1; ++k) acc = L::fma(a[n][k], L::load_first(b + k * stride + c, count), acc);
      L::store_first(sums[n] + c, count, acc);
    }
  }
}

template <typename L, typename T>
inline void rank_update_some(uint32_t count, const float* const* a, const T* b, size_t stride, uint32_t k0,
                             uint32_t k1, float* const* sums, uint32_t columns) {
  uint32_t n = 0;
  if constexpr (L::Columns::kCount > 8) {
    for (; n + 8 <= count; n += 8) rank_update_all<L, 8>(a + n, b, stride, k0, k1, sums + n, columns);
  }
  for (; n + 4 <= count; n += 4) rank_update_all<L, 4>(a + n, b, stride, k0, k1, sums + n, columns);
  if (count - n >= 2) {
    rank_update_all<L, 2>(a + n, b, stride, k0, k1, sums + n, columns);
    n += 2;
  }
  if (n < count) rank_update_all<L, 1>(a + n, b, stride, k0, k1, sums + n, columns);
}

// What a query has gathered so far.
struct Gathered {
  float greatest, weights;
};

// A query that sees [first, end) of the current block of 32.
struct Visible {
  uint32_t query, first, end;
};

template <typename L>
inline float exponential_of(float x) {
  return L::first(exponential<L>(L::set(x)));
}

// Turns scores [32] into weights relative to the greatest score so far; zero where not visible.
template <typename L>
inline void weigh(float* scores, const Visible& range, float scale, Gathered& gathered, float* out,
                  uint32_t value_dim) {
  float greatest = gathered.greatest;
  for (uint32_t p = range.first; p < range.end; ++p) {
    scores[p] *= scale;
    greatest = greatest > scores[p] ? greatest : scores[p];
  }
  if (greatest != gathered.greatest) {
    float shrink = exponential_of<L>(gathered.greatest - greatest);
    gathered.weights *= shrink;
    uint32_t i = 0;
    for (; i + 8 <= value_dim; i += 8) L::store(out + i, L::mul(L::load(out + i), L::set(shrink)));
    for (; i < value_dim; ++i) out[i] *= shrink;
    gathered.greatest = greatest;
  }
  for (uint32_t p = 0; p < range.first; ++p) scores[p] = 0.0f;
  for (uint32_t p = range.end; p < kKeyBlock; ++p) scores[p] = 0.0f;
  typename L::V part[4];
  for (int k = 0; k < 4; ++k) {
    part[k] = exponential<L>(L::sub(L::load(scores + 8 * k), L::set(greatest)));
    L::store(scores + 8 * k, part[k]);
  }
  if (range.first != 0 || range.end != kKeyBlock) {
    for (uint32_t p = 0; p < range.first; ++p) scores[p] = 0.0f;
    for (uint32_t p = range.end; p < kKeyBlock; ++p) scores[p] = 0.0f;
    for (int k = 0; k < 4; ++k) part[k] = L::load(scores + 8 * k);
  }
  gathered.weights += L::reduce(L::add(L::add(part[0], part[1]), L::add(part[2], part[3])));
}

template <typename L, typename T>
inline void attend_block(const AttentionTile& tile, const T* block, const Visible* visible, uint32_t count,
                         Gathered* gathered) {
  alignas(64) float scores[kMaxQueries][kKeyBlock];
  const float* q[kMaxQueries];
  float* at[kMaxQueries];
  for (uint32_t i = 0; i < count; ++i) {
    q[i] = tile.queries[visible[i].query].q;
    at[i] = scores[i];
    std::memset(scores[i], 0, sizeof scores[i]);
  }
  rank_update_some<L>(count, q, block, kKeyBlock, 0, tile.key_dim, at, kKeyBlock);
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t query = visible[i].query;
    weigh<L>(scores[i], visible[i], tile.scale, gathered[query], tile.queries[query].out, tile.value_dim);
    q[i] = scores[i];
    at[i] = tile.queries[query].out;
  }
  const T* values = block + size_t{kKeyBlock} * tile.key_dim;
  for (uint32_t i = 0; i < count;) {
    uint32_t same = i + 1;
    while (same < count && visible[same].first == visible[i].first && visible[same].end == visible[i].end)
      ++same;
    rank_update_some<L>(same - i, q + i, values, tile.value_dim, visible[i].first, visible[i].end, at + i,
                        tile.value_dim);
    i = same;
  }
}

// The queries that see a part of the block that starts at position `start`.
inline uint32_t visible_in(const AttentionTile& tile, int64_t start, Visible* visible) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < tile.count; ++i) {
    int64_t first = tile.queries[i].first - start, end = tile.queries[i].end - start;
    first = first < 0 ? 0 : first;
    end = end > kKeyBlock ? kKeyBlock : end;
    if (first < end) visible[count++] = {i, static_cast<uint32_t>(first), static_cast<uint32_t>(end)};
  }
  return count;
}

template <typename L, typename T>
void attend(const AttentionTile& tile) {
  Gathered gathered[kMaxQueries];
  Visible visible[kMaxQueries];
  int64_t first = tile.queries[0].first, end = tile.queries[0].end;
  for (uint32_t i = 0; i < tile.count; ++i) {
    const Query& query = tile.queries[i];
    first = query.first < first ? query.first : first;
    end = query.end > end ? query.end : end;
    gathered[i] = {-__builtin_inff(), 0.0f};
    std::memset(query.out, 0, tile.value_dim * sizeof(float));
  }
  const size_t block_elements = size_t{kKeyBlock} * (tile.key_dim + tile.value_dim);
  for (int64_t start = first / kKeyBlock * kKeyBlock; start < end; start += kKeyBlock) {
    uint32_t count = visible_in(tile, start, visible);
    if (count == 0) continue;
    uint32_t page = tile.pages[start / tile.page_positions - tile.first_block];
    auto* head = reinterpret_cast<const T*>(tile.head + page * tile.page_bytes);
    const T* block = head + start % tile.page_positions / kKeyBlock * block_elements;
    attend_block<L>(tile, block, visible, count, gathered);
  }
  for (uint32_t i = 0; i < tile.count; ++i) {
    float* out = tile.queries[i].out;
    uint32_t d = 0;
    for (; d + 8 <= tile.value_dim; d += 8)
      L::store(out + d, L::div(L::load(out + d), L::set(gathered[i].weights)));
    for (; d < tile.value_dim; ++d) out[d] /= gathered[i].weights;
  }
}

template <typename L>
void attention(const AttentionTile& tile) {
  if (tile.half) {
    attend<L, uint16_t>(tile);
  } else {
    attend<L, float>(tile);
  }
}

}  // namespace
}  // namespace facet::cpu
