// Compiled with -mavx512{vl,vnni}; called only where the CPU has them.
#include "tests/backends/avxvnni_for_avx512.h"

#include "backends/onednn/sets.h"
#include "backends/onednn/wide_avxvnni.h"
#include "backends/onednn/wide_matmul.h"

namespace facet::test {

void avxvnni_for_avx512(const cpu::MatmulTile& tile) {
  if (cpu::act_kind(tile.type) == cpu::ActKind::kFloat) return cpu::matmul_avx2(tile);
  cpu::matmul_quantised<cpu::AvxVnniWide>(tile);
}

}  // namespace facet::test
