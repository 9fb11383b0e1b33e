// What a model file says about its model, layer by layer, independent of its family.
//
// A *sliding* layer sees the last `window` positions (the token itself counts); a *global* layer sees all. A
// family's file reads its keys into this and refuses, by key, what is missing, out of bounds or contradicts
// itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/model/gguf.h"

namespace facet::model {

struct LayerConfig {
  bool sliding = false;
  uint32_t heads = 0;         // query heads
  uint32_t kv_heads = 0;      // divides heads
  uint32_t head_dim = 0;      // elements of a query, a key and a value
  uint32_t feed_forward = 0;  // width of the gated layer
  uint32_t rope_dims = 0;     // elements of a head, from the first, that rotate
  float rope_base = 0;
  float rope_freq_scale = 1;  // multiplies every frequency
  uint32_t cache_layer = 0;   // of the program, that it reads
  bool owns_cache = true;     // false: an earlier layer fills it
};

struct Config {
  std::string family;       // "gemma3"
  std::string name;         // general.name, may be empty
  uint32_t context = 0;     // positions the model was made for
  uint32_t embedding = 0;   // width of the residual stream
  uint32_t vocabulary = 0;  // tokens
  uint32_t window = 0;      // of sliding layers, positions
  float norm_eps = 0;
  float attention_scale = 0;  // of q.k
  float soft_cap = 0;         // of the logits; 0: none
  uint32_t experts = 0;       // beside the gated layer, of every layer; 0: none
  uint32_t experts_used = 0;  // per token
  uint32_t expert_feed_forward = 0;
  uint32_t per_layer_embedding = 0;  // elements per token and layer; 0: none
  std::vector<LayerConfig> layers;
};

// Bounds far above every released model; with them no size computed from a Config overflows.
constexpr uint32_t kMaxLayers = 1024;
constexpr uint32_t kMaxEmbedding = 1u << 16;
constexpr uint32_t kMaxHeads = 1024;
constexpr uint32_t kMaxHeadDim = 1024;
constexpr uint32_t kMaxFeedForward = 1u << 20;
constexpr uint32_t kMaxContext = 1u << 24;
constexpr uint32_t kMaxExperts = 1u << 12;

// The tokens of the file's vocabulary, whose embeddings are the rows of token_embd.weight.
Result<uint32_t> vocabulary_size(const GgufFile& file);

// Reads keys "FAMILY.NAME" of one file, with bounds.
class ConfigReader {
 public:
  ConfigReader(const GgufFile& file, std::string family) : file_(file), family_(std::move(family)) {}

  // not_found, or malformed if it lies outside [least, most].
  Result<uint32_t> number(const std::string& name, uint32_t least, uint32_t most) const;
  Result<uint32_t> number_or(const std::string& name, uint32_t least, uint32_t most, uint32_t missing) const;
  // An array of `count` numbers.
  Result<std::vector<uint32_t>> numbers(const std::string& name, uint32_t least, uint32_t most,
                                        uint32_t count) const;
  // The same, or one number for all.
  Result<std::vector<uint32_t>> number_or_numbers(const std::string& name, uint32_t least, uint32_t most,
                                                  uint32_t count) const;
  // Finite and inside [least, most].
  Result<float> real(const std::string& name, float least, float most) const;
  Result<float> real_or(const std::string& name, float least, float most, float missing) const;

  bool has(const std::string& name) const { return file_.entry(key(name)) != nullptr; }
  // malformed: "key FAMILY.NAME WHAT".
  Error error(const std::string& name, const std::string& what) const {
    return file_.error(FACET_MALFORMED, "key " + key(name) + " " + what);
  }
  std::string key(const std::string& name) const { return family_ + "." + name; }
  const GgufFile& file() const { return file_; }

 private:
  const GgufFile& file_;
  std::string family_;
};

}  // namespace facet::model
