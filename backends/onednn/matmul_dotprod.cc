// Matmul tiles of quantised weights with the dot product instructions. Compiled with
// -march=armv8.2-a+dotprod; called only where the CPU has them.
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_matmul.h"
#include "backends/onednn/wide_neon.h"

namespace facet::cpu {

void matmul_dotprod(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_neon(tile);
  matmul_quantised<NeonWide>(tile);
}

}  // namespace facet::cpu
