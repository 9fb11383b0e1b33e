// Gemma 3: all released sizes (270M, 1B, 4B, 12B, 27B), text part.
//
// Five sliding layers, then a global one. RMS norms before and after attention and feed-forward; queries and
// keys normed per head; gated GELU; embeddings scaled by sqrt(n). The converter has added 1 to the norm
// weights.
#include <cmath>

#include "daemon/model/cache_groups.h"
#include "daemon/model/family.h"
#include "daemon/model/weights.h"

namespace facet::model {
namespace {

using graph::Builder;
using graph::CacheLayer;
using graph::Value;

// The 27B scales attention by its embedding per head instead of its head size, and its files have no key for
// that.
float attention_scale(const Config& config, uint32_t head_dim) {
  const LayerConfig& layer = config.layers.front();
  bool is_27b = config.layers.size() == 62 && config.embedding == 5376 && layer.heads == 32;
  return 1.0f / std::sqrt(is_27b ? static_cast<float>(config.embedding) / static_cast<float>(layer.heads)
                                 : static_cast<float>(head_dim));
}

Result<Config> read_config(const GgufFile& file) {
  ConfigReader keys(file, "gemma3");
  Config c;
  c.family = "gemma3";
  FACET_TRY(auto name, file.find_string("general.name"));
  if (name) c.name = *name;
  FACET_TRY(uint32_t layers, keys.number("block_count", 1, kMaxLayers));
  FACET_TRY(c.context, keys.number("context_length", 1, kMaxContext));
  FACET_TRY(c.embedding, keys.number("embedding_length", 1, kMaxEmbedding));
  FACET_TRY(c.window, keys.number("attention.sliding_window", 1, kMaxContext));
  FACET_TRY(c.norm_eps, keys.real("attention.layer_norm_rms_epsilon", 0.0f, 1.0f));
  FACET_TRY(c.soft_cap, keys.real_or("final_logit_softcapping", 0.0f, 1e6f, 0.0f));
  FACET_TRY(uint32_t period, keys.number_or("attention.sliding_window_pattern", 1, kMaxLayers, 6));

  LayerConfig layer;
  FACET_TRY(layer.heads, keys.number("attention.head_count", 1, kMaxHeads));
  FACET_TRY(layer.kv_heads, keys.number_or("attention.head_count_kv", 1, kMaxHeads, layer.heads));
  FACET_TRY(layer.head_dim, keys.number("attention.key_length", 2, kMaxHeadDim));
  FACET_TRY(uint32_t value_dim, keys.number_or("attention.value_length", 2, kMaxHeadDim, layer.head_dim));
  FACET_TRY(layer.feed_forward, keys.number("feed_forward_length", 1, kMaxFeedForward));
  if (layer.heads % layer.kv_heads != 0) {
    return file.error(FACET_MALFORMED, "key gemma3.attention.head_count_kv is " +
                                           std::to_string(layer.kv_heads) + ", must divide the " +
                                           std::to_string(layer.heads) + " heads");
  }
  if (value_dim != layer.head_dim || layer.head_dim % 2 != 0) {
    return file.error(FACET_MALFORMED,
                      "keys gemma3.attention.key_length and value_length must be equal and even, are " +
                          std::to_string(layer.head_dim) + " and " + std::to_string(value_dim));
  }

  FACET_TRY(float base, keys.real("rope.freq_base", 1.0f, 1e12f));
  FACET_TRY(float base_sliding, keys.real_or("rope.freq_base_swa", 1.0f, 1e12f, 10000.0f));
  FACET_TRY(auto scaling, file.find_string("gemma3.rope.scaling.type"));
  if (scaling && *scaling != "linear" && *scaling != "none") {
    return file.error(FACET_UNSUPPORTED, "key gemma3.rope.scaling.type is " + std::string(*scaling));
  }
  FACET_TRY(float factor, keys.real_or("rope.scaling.factor", 1e-3f, 1e6f, 1.0f));
  layer.rope_dims = layer.head_dim;
  for (uint32_t i = 0; i < layers; ++i) {
    layer.cache_layer = i;
    layer.sliding = (i + 1) % period != 0;
    layer.rope_base = layer.sliding ? base_sliding : base;
    layer.rope_freq_scale = layer.sliding ? 1.0f : 1.0f / factor;
    c.layers.push_back(layer);
  }
  c.attention_scale = attention_scale(c, layer.head_dim);

  FACET_TRY(c.vocabulary, vocabulary_size(file));
  return c;
}

// The figure: one layer.
Value layer(Builder& b, Weights& w, const Config& c, uint32_t i, CacheGroups& groups, Value x) {
  const LayerConfig& l = c.layers[i];
  const uint32_t n = c.embedding, d = l.head_dim;
  const std::string blk = "blk." + std::to_string(i) + ".";
  auto matrix = [&](const char* name, uint32_t in, uint32_t out) {
    return w.matrix(blk + name + ".weight", in, out);
  };
  auto norm = [&](const char* name, Value v, uint32_t segment) {
    return b.rms_norm(v, w.vector(blk + name + ".weight", segment), segment, c.norm_eps);
  };
  const Builder::Rope rope{d, l.rope_dims, l.rope_base, l.rope_freq_scale};

  Value a = norm("attn_norm", x, n);
  Value q = b.rope(norm("attn_q_norm", b.matmul(a, matrix("attn_q", n, l.heads * d)), d), rope);
  Value k = b.rope(norm("attn_k_norm", b.matmul(a, matrix("attn_k", n, l.kv_heads * d)), d), rope);
  Value v = b.matmul(a, matrix("attn_v", n, l.kv_heads * d));
  const uint32_t window = l.sliding ? c.window : 0;
  CacheLayer cache = b.cache_layer(groups.of(window), l.kv_heads, d, d);
  b.cache_append(cache, k, v);
  Value o = b.attention(cache, q, l.heads, window, c.attention_scale);
  x = b.add(x, norm("post_attention_norm", b.matmul(o, matrix("attn_output", l.heads * d, n)), n));

  Value f = norm("ffn_norm", x, n);
  Value gate = b.matmul(f, matrix("ffn_gate", n, l.feed_forward));
  Value up = b.matmul(f, matrix("ffn_up", n, l.feed_forward));
  Value down = b.matmul(b.gated(FACET_GELU_TANH, gate, up), matrix("ffn_down", l.feed_forward, n));
  return b.add(x, norm("post_ffw_norm", down, n));
}

}  // namespace

Result<Family> build_gemma3(const GgufFile& file) {
  FACET_TRY(Config c, read_config(file));
  Builder b;
  Weights w(file, b);
  CacheGroups groups(b);

  const bool tied = !w.has("output.weight");
  graph::Weight embedding = tied ? w.matrix("token_embd.weight", c.embedding, c.vocabulary)
                                 : w.table("token_embd.weight", c.embedding, c.vocabulary);
  Value x = b.embed(embedding, std::sqrt(static_cast<float>(c.embedding)));
  for (uint32_t i = 0; i < c.layers.size(); ++i) x = layer(b, w, c, i, groups, x);
  x = b.rms_norm(b.select(x), w.vector("output_norm.weight", c.embedding), c.embedding, c.norm_eps);
  Value logits = b.matmul(x, tied ? embedding : w.matrix("output.weight", c.embedding, c.vocabulary));
  if (c.soft_cap > 0) logits = b.soft_cap(logits, c.soft_cap);
  b.output(kLogits, logits);

  FACET_CHECK(w.check());
  auto program = b.build();
  if (!program.ok()) return file.error(program.error().code, program.error().message);
  return Family{std::move(c), std::move(*program), groups.windows(), nullptr};
}

}  // namespace facet::model
