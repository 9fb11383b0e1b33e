// Attention of one tile over lanes (lanes.h).
//
// Per query and key block, in the order of positions: scores of the block's visible keys, each one sum over
// the elements of a key in ascending order; then the running maximum and sum of weights are brought up to
// date (what was gathered so far is scaled down where the maximum grows), then the weighted values are added,
// position by position. Which other queries share the tile changes nothing.
//
// Of squares (a Q8_0 cache) a score is a sum of its own per 32 elements, of queries times quants, which is
// then added times the key's scale; and a weight is multiplied with the value's scale before the quants are.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include <type_traits>

#include "backends/onednn/kernels.h"
#include "backends/onednn/lanes.h"

namespace facet::cpu {
namespace {

// acc[n] += sum over k in [k0, k1) of a[n][k] * b[k][0..C::kCount*W), b [.., stride]. Each column is a sum of
// its own, so how many of them are side by side changes nothing.
template <typename C, int N, int W, typename T>
FACET_CPU_INLINE void accumulate(const float* const* a, const T* b, size_t stride, uint32_t k0, uint32_t k1,
                                 typename C::V (&acc)[N][W]) {
  for (uint32_t k = k0; k < k1; ++k) {
    typename C::V v[W];
    for (int w = 0; w < W; ++w) v[w] = C::load(b + k * stride + C::kCount * w);
    for (int n = 0; n < N; ++n) {
      for (int w = 0; w < W; ++w) acc[n][w] = C::fma(a[n][k], v[w], acc[n][w]);
    }
  }
}

// The same for columns of sums[n], from `column` on.
template <typename C, int N, int W, typename T>
inline void rank_update(const float* const* a, const T* b, size_t stride, uint32_t k0, uint32_t k1,
                        float* const* sums, uint32_t column) {
  typename C::V acc[N][W];
  for (int n = 0; n < N; ++n) {
    for (int w = 0; w < W; ++w) acc[n][w] = C::load(sums[n] + column + C::kCount * w);
  }
  accumulate<C, N, W>(a, b + column, stride, k0, k1, acc);
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

template <int N>
using Count = std::integral_constant<int, N>;

// Calls update(Count<N>, n) for groups of N of `count` queries, from number n on.
template <typename L, typename Update>
inline void in_groups(uint32_t count, const Update& update) {
  uint32_t n = 0;
  if constexpr (L::Columns::kCount > 8) {
    for (; n + 8 <= count; n += 8) update(Count<8>(), n);
  }
  for (; n + 4 <= count; n += 4) update(Count<4>(), n);
  if (count - n >= 2) {
    update(Count<2>(), n);
    n += 2;
  }
  if (n < count) update(Count<1>(), n);
}

// Scores [count][32] of the keys of a block, added to `scores`.
template <typename L, typename T>
inline void add_keys(uint32_t count, const float* const* q, const T* keys, uint32_t dim,
                     float* const* scores) {
  in_groups<L>(count, [&](auto group, uint32_t n) {
    rank_update_all<L, group()>(q + n, keys, kKeyBlock, 0, dim, scores + n, kKeyBlock);
  });
}

// Adds the values of positions [first, end) of a block, times weights [count][32], to out [count][dim].
template <typename L, typename T>
inline void add_values(uint32_t count, const float* const* weights, const T* values, uint32_t dim,
                       uint32_t first, uint32_t end, float* const* out) {
  in_groups<L>(count, [&](auto group, uint32_t n) {
    rank_update_all<L, group()>(weights + n, values, dim, first, end, out + n, dim);
  });
}

// Scores of the keys' elements that a square holds.
template <typename C, int N>
inline void add_key_square(const float* const* q, const Square& square, float* const* scores) {
  constexpr uint32_t kColumns = 2 * C::kCount;
  for (uint32_t c = 0; c < kKeyBlock; c += kColumns) {
    typename C::V acc[N][2];
    for (int n = 0; n < N; ++n) acc[n][0] = acc[n][1] = C::set(0.0f);
    accumulate<C, N, 2>(q, &square.quants[0][c], kBlock, 0, kBlock, acc);
    for (int w = 0; w < 2; ++w) {
      const uint32_t column = c + C::kCount * w;
      const typename C::V scale = C::load(square.scales + column);
      for (int n = 0; n < N; ++n) {
        C::store(scores[n] + column, C::fma(acc[n][w], scale, C::load(scores[n] + column)));
      }
    }
  }
}

template <typename L>
inline void add_keys(uint32_t count, const float* const* q, const Square* keys, uint32_t dim,
                     float* const* scores) {
  for (uint32_t d = 0; d < dim; d += kBlock, ++keys) {
    const float* at[kMaxQueries];
    for (uint32_t n = 0; n < count; ++n) at[n] = q[n] + d;
    in_groups<L>(count, [&](auto group, uint32_t n) {
      add_key_square<typename L::Columns, group()>(at + n, *keys, scores + n);
    });
  }
}

template <typename L>
inline void add_values(uint32_t count, const float* const* weights, const Square* values, uint32_t dim,
                       uint32_t first, uint32_t end, float* const* out) {
  using C = typename L::Columns;
  alignas(64) float scaled[kMaxQueries][kBlock];
  const float* from[kMaxQueries];
  float* to[kMaxQueries];
  for (uint32_t d = 0; d < dim; d += kBlock, ++values) {
    for (uint32_t n = 0; n < count; ++n) {
      for (uint32_t p = 0; p < kKeyBlock; p += 8) {
        L::store(scaled[n] + p, L::mul(L::load(weights[n] + p), L::load(values->scales + p)));
      }
      from[n] = scaled[n];
      to[n] = out[n] + d;
    }
    in_groups<L>(count, [&](auto group, uint32_t n) {
      for (uint32_t c = 0; c < kBlock; c += 2 * C::kCount) {
        rank_update<C, group(), 2>(from + n, values->quants[0], kBlock, first, end, to + n, c);
      }
    });
  }
}

// How many T hold 32 positions of so many elements.
template <typename T>
inline size_t units(uint32_t elements) {
  return std::is_same_v<T, Square> ? elements / kBlock : size_t{kKeyBlock} * elements;
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
  add_keys<L>(count, q, block, tile.key_dim, at);
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t query = visible[i].query;
    weigh<L>(scores[i], visible[i], tile.scale, gathered[query], tile.queries[query].out, tile.value_dim);
    q[i] = scores[i];
    at[i] = tile.queries[query].out;
  }
  const T* values = block + units<T>(tile.key_dim);
  for (uint32_t i = 0; i < count;) {
    uint32_t same = i + 1;
    while (same < count && visible[same].first == visible[i].first && visible[same].end == visible[i].end)
      ++same;
    add_values<L>(same - i, q + i, values, tile.value_dim, visible[i].first, visible[i].end, at + i);
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
  const size_t block_units = units<T>(tile.key_dim) + units<T>(tile.value_dim);
  for (int64_t start = first / kKeyBlock * kKeyBlock; start < end; start += kKeyBlock) {
    uint32_t count = visible_in(tile, start, visible);
    if (count == 0) continue;
    uint32_t page = tile.pages[start / tile.page_positions - tile.first_block];
    auto* head = reinterpret_cast<const T*>(tile.head + page * tile.page_bytes);
    const T* block = head + start % tile.page_positions / kKeyBlock * block_units;
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
  switch (tile.type) {
    case FACET_TYPE_F32:
      return attend<L, float>(tile);
    case FACET_TYPE_F16:
      return attend<L, uint16_t>(tile);
    case FACET_TYPE_Q8_0:
      return attend<L, Square>(tile);
  }
}

}  // namespace
}  // namespace facet::cpu
