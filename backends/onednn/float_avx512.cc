// Attention with AVX-512; the other row kernels are those of AVX2. Compiled with -mavx512{f,bw,dq,vl} -mfma
// -mf16c; called only where the CPU has them.
#include "backends/onednn/attention_kernel.h"
#include "backends/onednn/sets.h"

namespace facet::cpu {

void attention_avx512(const AttentionTile& tile) {
  attention<Avx512Lanes>(tile);
}

}  // namespace facet::cpu
