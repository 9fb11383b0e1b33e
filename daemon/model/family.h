// The model families: each turns a file into a config and a program, in a file of its own.
#pragma once

#include <vector>

#include "daemon/base/result.h"
#include "daemon/graph/program.h"
#include "daemon/model/config.h"
#include "daemon/model/gguf.h"

namespace facet::model {

// Positions per cache page, for all groups.
constexpr uint32_t kPagePositions = 64;

// Names of a program's inputs and outputs.
inline constexpr const char* kLogits = "logits";  // output 0, [selected rows, vocabulary]
// The state before the output matrix: an output of a model that can be drafted for, [selected rows,
// embedding]; of its drafter also an input, [rows, embedding of the target].
inline constexpr const char* kHidden = "hidden";
// Input, [rows, layers * per_layer_embedding]: each row's token's row of Family::per_layer_table.
inline constexpr const char* kPerLayerEmbedding = "per_layer_embedding";

// A model as a program.
struct Family {
  Config config;
  graph::Program program;
  // Per cache group of the program: how many positions its layers see, 0 for all.
  std::vector<uint32_t> windows;
  // A table too large for a device, which the host reads row by row; nullptr if there is none. The file's.
  const GgufTensor* per_layer_table = nullptr;
};

// Each reads the file's metadata and tensor directory only.
Result<Family> build_gemma3(const GgufFile& file);
Result<Family> build_gemma4(const GgufFile& file);
// A drafter: its program reads the cache of the target's program and has that one's layout. It also reads
// weights of the target's file. malformed, naming it, where the two do not fit.
Result<Family> build_gemma4_assistant(const GgufFile& file, const GgufFile& target_file,
                                      const Family& target);

// By general.architecture; unsupported, naming it, if there is no such family.
Result<Family> build_family(const GgufFile& file);

}  // namespace facet::model
