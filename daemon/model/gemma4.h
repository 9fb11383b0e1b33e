// What the two families of Gemma 4 share: the keys of a file, and one layer of the graph.
//
// The models (gemma4.cc) own caches; their drafters (gemma4_assistant.cc) have the same layers without keys
// and values of their own and read the caches of the model that they draft for.
#pragma once

#include <optional>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/graph/program.h"
#include "daemon/model/config.h"
#include "daemon/model/gguf.h"
#include "daemon/model/weights.h"

namespace facet::model {

// Reads and checks the keys of `architecture`, all but which cache a layer reads.
Result<Config> read_gemma4_config(const GgufFile& file, const std::string& architecture);

// One model's graph while it is built.
struct Gemma4Graph {
  graph::Builder& b;
  Weights& w;
  const Config& c;
  bool keys_are_values = false;  // of global layers

  // Layer i over the residual stream x: [rows, embedding] -> the same. `per_layer` is the layer's own input,
  // [rows, per_layer_embedding], if the model has one.
  graph::Value layer(uint32_t i, graph::Value x, std::optional<graph::Value> per_layer);

 private:
  graph::Value attention(uint32_t i, graph::Value x);
  graph::Value feed_forward(uint32_t i, graph::Value x);
  graph::Value experts(uint32_t i, graph::Value x);

  // Weights of layer i, by the last part of their names.
  graph::Weight matrix(uint32_t i, const char* name, uint32_t inputs, uint32_t outputs);
  graph::Value norm(uint32_t i, const char* name, graph::Value x, uint32_t segment);
};

}  // namespace facet::model
