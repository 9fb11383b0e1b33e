// Matmul tiles with AVX2 and FMA. Compiled with -mavx2 -mfma -mf16c; called only where the CPU has them.
#include "backends/onednn/float_matmul.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_avx2.h"
#include "backends/onednn/wide_matmul.h"

namespace facet::cpu {

void matmul_avx2(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_float<Avx2Lanes>(tile);
  matmul_quantised<Avx2Wide>(tile);
}

}  // namespace facet::cpu
