// What this process holds of the machine's memory now, as the kernel counts it.
#pragma once

#include <cstdint>

#include "daemon/base/result.h"
#include "daemon/model/gguf.h"

namespace facet::model_tool {

struct ProcessMemory {
  uint64_t private_bytes = 0;   // pages of this process alone, without those of the file
  uint64_t resident_bytes = 0;  // pages of the file's mapping that the process has touched
};

// Reads /proc/self/smaps; io if it cannot be read.
Result<ProcessMemory> process_memory(const model::GgufFile& file);

}  // namespace facet::model_tool
