// Matmul tiles of quantised weights with AVX-VNNI. Compiled with -mavx2 -mfma -mf16c -mavxvnni; called only
// where the CPU has them.
#include "backends/onednn/sets.h"
#include "backends/onednn/wide_avxvnni.h"
#include "backends/onednn/wide_matmul.h"

namespace facet::cpu {

void matmul_avxvnni(const MatmulTile& tile) {
  if (act_kind(tile.type) == ActKind::kFloat) return matmul_avx2(tile);
  matmul_quantised<AvxVnniWide>(tile);
}

}  // namespace facet::cpu
