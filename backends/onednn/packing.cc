#include "backends/onednn/packing.h"

#include <facet/blocks.h>

#include <cstring>
#include <initializer_list>

namespace facet::cpu {
namespace {

// The places of a block's 16-bit fields, ascending.
struct HalfFields {
  size_t block_bytes = 0;  // 0: not a quantised type
  size_t count = 0, offsets[2] = {};
};

HalfFields half_fields_of(uint32_t type) {
  switch (type) {
    case FACET_TYPE_Q4_0:
      return {sizeof(facet_block_q4_0), 1, {offsetof(facet_block_q4_0, d)}};
    case FACET_TYPE_Q4_1:
      return {sizeof(facet_block_q4_1), 2, {offsetof(facet_block_q4_1, d), offsetof(facet_block_q4_1, m)}};
    case FACET_TYPE_Q5_0:
      return {sizeof(facet_block_q5_0), 1, {offsetof(facet_block_q5_0, d)}};
    case FACET_TYPE_Q5_1:
      return {sizeof(facet_block_q5_1), 2, {offsetof(facet_block_q5_1, d), offsetof(facet_block_q5_1, m)}};
    case FACET_TYPE_Q8_0:
      return {sizeof(facet_block_q8_0), 1, {offsetof(facet_block_q8_0, d)}};
    case FACET_TYPE_IQ4_NL:
      return {sizeof(facet_block_iq4_nl), 1, {offsetof(facet_block_iq4_nl, d)}};
    case FACET_TYPE_IQ4_XS:
      return {sizeof(facet_block_iq4_xs),
              2,
              {offsetof(facet_block_iq4_xs, d), offsetof(facet_block_iq4_xs, scales_h)}};
    case FACET_TYPE_Q2_K:
      return {sizeof(facet_block_q2_k), 2, {offsetof(facet_block_q2_k, d), offsetof(facet_block_q2_k, dmin)}};
    case FACET_TYPE_Q3_K:
      return {sizeof(facet_block_q3_k), 1, {offsetof(facet_block_q3_k, d)}};
    case FACET_TYPE_Q4_K:  // d and dmin are read as one word
      return {sizeof(facet_block_q4_k), 0, {}};
    case FACET_TYPE_Q5_K:
      return {sizeof(facet_block_q5_k), 0, {}};
    case FACET_TYPE_Q6_K:
      return {sizeof(facet_block_q6_k), 1, {offsetof(facet_block_q6_k, d)}};
    default:
      return {};
  }
}

template <size_t bytes>
void spread(const uint8_t* rows, size_t row_bytes, uint8_t* packed) {
  for (size_t r = 0; r < kPackedOutputs; ++r) std::memcpy(packed + r * bytes, rows + r * row_bytes, bytes);
}

}  // namespace

bool can_pack(uint32_t type, uint64_t outputs) {
  return half_fields_of(type).block_bytes != 0 && outputs % kPackedOutputs == 0;
}

void pack_group(uint32_t type, const uint8_t* rows, size_t row_bytes, uint8_t* packed) {
  const HalfFields halves = half_fields_of(type);
  for (size_t block = 0; block < row_bytes; block += halves.block_bytes) {
    size_t half = 0;
    for (size_t offset = 0; offset < halves.block_bytes;) {
      const size_t at = block + offset;
      if (half < halves.count && halves.offsets[half] == offset) {
        spread<2>(rows + at, row_bytes, packed + kPackedOutputs * at);
        ++half;
        offset += 2;
      } else {
        spread<4>(rows + at, row_bytes, packed + kPackedOutputs * at);
        offset += 4;
      }
    }
  }
}

}  // namespace facet::cpu
