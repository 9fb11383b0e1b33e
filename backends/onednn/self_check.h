// Compares two sets of kernels bit by bit on a few small, random inputs.
#pragma once

#include <string>

#include "backends/onednn/kernels.h"

namespace facet::cpu {

// What differs ("matmul of Q4_K, 3 rows"), or an empty string. Takes a few milliseconds.
std::string difference(const Kernels& tried, const Kernels& trusted);

}  // namespace facet::cpu
