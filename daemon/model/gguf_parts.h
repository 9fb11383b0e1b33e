// Models that are split over several GGUF files.
//
// Each file, a *part*, is a GGUF file of its own with the keys split.no (its number, from 0), split.count
// (how many parts there are) and split.tensors.count (tensors in all of them); only the first has the model's
// metadata. The files' names tell the number too (daemon/base/part_name.h). A model is opened by its first
// part, so that one path stands for one model.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/model/gguf.h"

namespace facet::model {

struct PartKeys {
  uint32_t number = 0;  // from 0 to count - 1
  uint32_t count = 0;   // from 2 to kMaxParts
  uint64_t tensors = 0;

  static constexpr uint32_t kMaxParts = 1024;
};

// nullopt for a file that is a whole model; malformed or not_found for keys that contradict each other or are
// not there.
Result<std::optional<PartKeys>> read_part_keys(const GgufFile& file);

// Opens the other parts, whose names follow from that of the first, and joins all.
Result<GgufFile> open_parts(GgufFile first, const PartKeys& keys);

}  // namespace facet::model
