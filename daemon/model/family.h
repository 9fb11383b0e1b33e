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

// A model as a program. Output 0 is "logits", [selected rows, vocabulary].
struct Family {
  Config config;
  graph::Program program;
  // Per cache group of the program: how many positions its layers see, 0 for all.
  std::vector<uint32_t> windows;
};

// Gemma 3, text part, all released sizes. Reads the file's metadata and tensor directory only.
Result<Family> build_gemma3(const GgufFile& file);

// By general.architecture; unsupported, naming it, if there is no such family.
Result<Family> build_family(const GgufFile& file);

}  // namespace facet::model
