// The matmul kernels of AVX-VNNI for processors that have AVX-512 VNNI and VL: the same source, whose dot
// products are encoded otherwise.
#pragma once

#include "backends/onednn/kernels.h"

namespace facet::test {

// Kernels::matmul.
void avxvnni_for_avx512(const cpu::MatmulTile& tile);

}  // namespace facet::test
