// Matmul tiles with AVX-512 VNNI. Compiled with -mavx512{f,bw,dq,vl,vnni} -mfma -mf16c; called only where the
// CPU has them.
#include "backends/onednn/float_matmul.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_avx512.h"
#include "backends/onednn/wide_matmul.h"

namespace facet::cpu {

void matmul_avx512(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_float<Avx512Lanes>(tile);
  matmul_quantised<Avx512Wide>(tile);
}

}  // namespace facet::cpu
