// Matmul tiles of quantised weights with the int8 matrix instructions. Compiled with
// -march=armv8.2-a+dotprod+i8mm; called only where the CPU has them.
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_i8mm.h"
#include "backends/onednn/wide_matmul.h"

namespace facet::cpu {

void matmul_i8mm(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_neon(tile);
  matmul_quantised<I8mmWide>(tile);
}

}  // namespace facet::cpu
