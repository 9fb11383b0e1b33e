// A layout of quantised weights in which the kernels read them in the order of memory.
//
// Sixteen outputs make a group. A block of a group takes the place of the sixteen blocks of its outputs: the
// field at `offset` of a block lies at 16 * offset of the group's, once per output, side by side. A group has
// its blocks in ascending order, a matrix its groups; so a matrix of whole groups takes as many bytes packed
// as in the file. Fields are the 16-bit scales of a block and, for all else, its 32-bit words.
#pragma once

#include <cstddef>
#include <cstdint>

namespace facet::cpu {

constexpr uint32_t kPackedOutputs = 16;

// Whether a matrix of this type and number of outputs can be packed.
bool can_pack(uint32_t type, uint64_t outputs);

// One group: kPackedOutputs rows of `row_bytes` bytes, one after the other, to as many bytes.
void pack_group(uint32_t type, const uint8_t* rows, size_t row_bytes, uint8_t* packed);

}  // namespace facet::cpu
