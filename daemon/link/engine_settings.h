// The settings of an engine: settings of facetd, whose hello carries them to the engine as lines.
#pragma once

#include "daemon/base/settings.h"

namespace facet::link {

struct EngineSettings {
  std::string backend;
  uint32_t threads = 0;
  std::string cache = "f16";
  uint64_t cache_bytes = 1ull << 30;
  uint32_t context = 8192;
  uint32_t max_sequences = 64;
  uint32_t max_waiting = 1024;
  uint32_t chunk = 256;
  uint32_t background_nice = 5;
  std::string packed_weights = "auto";
  uint64_t packed_weights_bytes = 1ull << 36;
};

// In the section `engine`.
inline settings::Table engine_table(EngineSettings& to) {
  using settings::Place;
  const auto number = [](const char* name, const char* help, uint32_t* target, uint64_t least,
                         uint64_t most) {
    return settings::Setting{"engine", name, "N", help, target, Place::kAnywhere, least, most};
  };
  return {
      {"engine", "backend", "NAME", "the backend plugin; empty: onednn, else reference", &to.backend},
      number("threads", "threads of the backend; 0: it chooses", &to.threads, 0, 1024),
      {"engine",
       "cache",
       "TYPE",
       "what keys and values are stored as",
       &to.cache,
       Place::kAnywhere,
       0,
       0,
       {"f16", "f32", "q8_0"}},
      {"engine", "cache-bytes", "BYTES", "keys and values of a model take at most this much", &to.cache_bytes,
       Place::kAnywhere, 1 << 20},
      number("context", "tokens per sequence, at most the model's own", &to.context, 16, 1 << 24),
      number("max-sequences", "requests that run at once", &to.max_sequences, 1, 4096),
      number("max-waiting",
             "requests that may wait to be taken over by a model, and as many for a place; one user's at "
             "most as "
             "many as stay free",
             &to.max_waiting, 1, 1 << 20),
      number("chunk", "rows of a step: how much of a prompt is read at once", &to.chunk, 1, 4096),
      number("background-nice", "nice value of background work while nothing else is asked",
             &to.background_nice, 0, 19),
      {"engine", "packed-weights", "FOLDER",
       "keeps copies of weights that run faster; none: no copies; auto: the engine's cache folder",
       &to.packed_weights},
      {"engine", "packed-weights-bytes", "BYTES", "they take at most this much of the disk",
       &to.packed_weights_bytes, Place::kAnywhere},
  };
}

}  // namespace facet::link
