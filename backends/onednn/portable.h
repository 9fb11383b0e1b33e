// The plain-code matmul and its way to take outputs apart, which vector sets use for the formats that they
// have no code of their own for.
#pragma once

#include "backends/onednn/kernels.h"

namespace facet::cpu {

void matmul_portable(const MatmulTile& tile);

// One output of a quantised type to a PanelRow (panel.h).
void unpack_portable(uint32_t type, const uint8_t* weights, uint32_t width, std::byte* panel);

}  // namespace facet::cpu
