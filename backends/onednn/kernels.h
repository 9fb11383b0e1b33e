// The inner loops of the CPU backend, as a table with one set of functions per instruction set.
//
//   lane        one of 8 float32 partial sums of an output of a float weight. They are reduced at the end in
//               one order, ((0+2)+(1+3)) + ((4+6)+(5+7)).
//   block       32 consecutive elements of a row, half: 16 of them.
//   quantised   activations as int8 with a float scale dx per block, as a matmul with a quantised weight
//               reads them.
//   tile        a piece of a matmul: some rows times some outputs, computed by one thread in one call.
//
// The arithmetic (numerics "cpu/2"), the same in every set and for every shape of a tile, so that neither the
// CPU nor the number of rows changes a bit:
//   float types       lane i%8 = fma(w[i], x[i], lane), i ascending, zeros up to a multiple of 8.
//   quantised types   a weight is w = d*q + m with an integer q; d and m are float32 per block, or per half
//                     in Q2_K, Q3_K and Q6_K (products of the file's scales, rounded once). Blocks or halves
//                     ascending: sum = fma(d*dx, float(sum of q*x), sum), then, in formats that have m,
//                     sum = fma(m, dx * float(sum of x), sum). Sums of integers are exact.
//   attention         attention_kernel.h.
#pragma once

#include <facet/blocks.h>

#include <cstddef>
#include <cstdint>

#include "backends/onednn/isa.h"

namespace facet::cpu {

constexpr uint32_t kBlock = 32;
constexpr uint32_t kKeyBlock = 32;  // positions per block of the cache

// Small functions are always inlined: files with different instruction sets include this header, and a copy
// that one of them emits must not be taken for all.
#define FACET_CPU_INLINE [[gnu::always_inline]] inline

FACET_CPU_INLINE constexpr size_t round_up(size_t value, size_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// How a matmul reads its activations.
enum class ActKind : uint8_t { kFloat, kBlocks };

FACET_CPU_INLINE ActKind act_kind(uint32_t weight_type) {
  bool is_float =
      weight_type == FACET_TYPE_F32 || weight_type == FACET_TYPE_F16 || weight_type == FACET_TYPE_BF16;
  return is_float ? ActKind::kFloat : ActKind::kBlocks;
}

// One row of activations in memory: float [width], or the quants, int8 [width], and then at these offsets, in
// bytes: `scales` dx, float [blocks]; `sums` int32 -(sum of x), [blocks]; `scaled_sums` float dx * (sum of
// x), [blocks]; `half_sums` int32 -(sum of x), [halves].
struct ActRow {
  size_t scales = 0, sums = 0, scaled_sums = 0, half_sums = 0, bytes = 0;

  FACET_CPU_INLINE ActRow(ActKind kind, uint32_t width) {
    if (kind == ActKind::kFloat) {
      bytes = size_t{width} * sizeof(float);
    } else {
      const size_t each = size_t{width} / kBlock * 4;
      scales = width;
      sums = scales + each;
      scaled_sums = sums + each;
      half_sums = scaled_sums + each;
      // An odd number of cache lines, so that rows do not crowd into the same sets of a cache.
      bytes = round_up(half_sums + 2 * each, 64) | 64;
    }
  }
};

constexpr uint32_t kMaxTileRows = 256;
constexpr uint32_t kMostOutputs = 32;  // that a set computes side by side

struct MatmulTile {
  uint32_t type, width;    // of the weight
  const uint8_t* weights;  // the first output's row, in the file's blocks
  size_t weight_stride;    // bytes from one output to the next
  const uint8_t* packed;   // the same outputs packed (packing.h), whole groups of them; or NULL
  const std::byte* acts;   // the first row, of act_kind(type)
  size_t act_stride;       // bytes
  uint32_t rows, outputs;  // at most kMaxTileRows rows
  float* out;              // [rows, outputs]
  size_t out_stride;       // floats from one row to the next
  std::byte* scratch;      // matmul_scratch(type, width) bytes, aligned to 64
};

// One query of an attention: a row and a head.
struct Query {
  const float* q;      // [key_dim]
  float* out;          // [value_dim]
  int64_t first, end;  // the positions that it sees, not empty
};

// Of a Q8_0 cache: 32 elements of 32 positions, each position with its scale, float16. Quants of keys are
// [element, position], those of values [position, element].
struct Square {
  int8_t quants[kBlock][kBlock];
  uint16_t scales[kBlock];
};
static_assert(kBlock == kKeyBlock && sizeof(Square) == kBlock * sizeof(facet_block_q8_0));

// Queries of one sequence that read the same keys. A page holds, per KV head, blocks of 32 positions: keys
// [key_dim, 32], then values [32, value_dim]; of Q8_0 key_dim/32 squares, then value_dim/32.
struct AttentionTile {
  const Query* queries;
  uint32_t count;  // at most kMaxQueries
  uint32_t key_dim, value_dim;
  float scale;
  uint32_t type;  // of the cache
  const uint32_t* pages;
  uint32_t first_block;  // pages[0] holds positions from first_block * page_positions on
  uint32_t page_positions;
  const std::byte* head;  // the KV head's blocks in page 0
  size_t page_bytes;
};
constexpr uint32_t kMaxQueries = 32;

struct Kernels {
  Isa isa;

  void (*matmul)(const MatmulTile& tile);
  void (*attention)(const AttentionTile& tile);

  // x [width] to an ActRow of blocks. A block whose greatest magnitude is below 2^-80 counts as zero; one
  // with an infinity or a NaN gives NaN results.
  void (*quantise)(const float* x, uint32_t width, std::byte* row);

  // out = x / sqrt(mean(x^2) + eps) * w, per segment; w may be NULL.
  void (*rms_norm)(const float* x, const float* w, uint32_t segment, uint32_t segments, float eps,
                   float* out);
  // One head: pairs (i, i + n_rot/2) by cos and sin [n_rot/2]; copies from n_rot on.
  void (*rope)(const float* x, const float* cos, const float* sin, uint32_t head_dim, uint32_t n_rot,
               float* out);
  void (*gelu_gated)(const float* x, const float* y, size_t n, float* out);
  void (*add)(const float* x, const float* y, size_t n, float* out);
  void (*mul)(const float* x, const float* y, size_t n, float* out);
  void (*scale)(const float* x, float factor, size_t n, float* out);
  // out[i] = fma(factor, x[i], out[i]).
  void (*add_scaled)(const float* x, float factor, size_t n, float* out);
  void (*soft_cap)(const float* x, float cap, size_t n, float* out);
  void (*to_half)(const float* x, size_t n, uint16_t* out);
  // facet_encode_q8_0; n is a multiple of 32.
  void (*to_q8_0)(const float* x, size_t n, facet_block_q8_0* out);
};

// Bytes that matmul needs for a tile of any size, in any of the sets.
size_t matmul_scratch(uint32_t type, uint32_t width);

// Vector sets only if isa_available(isa).
Kernels kernels_of(Isa isa);

}  // namespace facet::cpu
