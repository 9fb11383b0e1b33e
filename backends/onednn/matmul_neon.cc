// Matmul tiles with NEON, which every aarch64 CPU has.
#include "backends/onednn/float_matmul.h"
#include "backends/onednn/lanes_neon.h"
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_matmul.h"
#include "backends/onednn/wide_neon.h"

namespace facet::cpu {

void matmul_neon(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_float<NeonLanes>(tile);
  matmul_quantised<NeonWide>(tile);
}

}  // namespace facet::cpu
