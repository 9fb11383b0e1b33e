// What the files of the instruction sets export to the table. Those with vector instructions may be called
// only where isa_available() says so.
#pragma once

#include "backends/onednn/kernels.h"

namespace facet::cpu {

void matmul_portable(const MatmulTile& tile);
void matmul_avx2(const MatmulTile& tile);
void matmul_avxvnni(const MatmulTile& tile);
void matmul_avx512(const MatmulTile& tile);
void matmul_neon(const MatmulTile& tile);
void matmul_dotprod(const MatmulTile& tile);
void matmul_i8mm(const MatmulTile& tile);
void attention_avx512(const AttentionTile& tile);

// The table's other functions, in plain code, with AVX2 and with NEON (float_kernels.h, attention_kernel.h).
Kernels portable_float_kernels();
Kernels avx2_float_kernels();
Kernels neon_float_kernels();

}  // namespace facet::cpu
