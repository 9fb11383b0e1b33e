// Takes weight blocks apart in plain code, one block of 32 elements of one output at a time: w = d*q + m,
// with d and m per half.
#pragma once

#include <facet/blocks.h>

#include <cstdint>

namespace facet::cpu {

struct PlainBlock {
  int16_t q[32];
  float d[2], m[2];
};

// How a type's rows are read: d and m differ between the halves of a block; there is an m.
struct PlainFormat {
  bool halves, mins;
};
PlainFormat plain_format(uint32_t type);

// Block `number` of a row of a quantised type.
PlainBlock plain_block(uint32_t type, const uint8_t* row, uint32_t number);

}  // namespace facet::cpu
