// Gemma 4: E2B, E4B, 12B, 31B and 26B-A4B, text part.
//
// Sliding and global layers as the file's pattern says, each kind with its own head size, KV heads and RoPE:
// global layers rotate only the pairs whose rope_freqs are not huge. Queries, keys and values are normed per
// head and scores not scaled; global layers may take their raw keys as values. The last layers may share
// the cache of the last layer of their kind that fills one. In the mixture models experts stand beside the
// gated layer. In the small ones each layer also gets an embedding of the token of its own, of a table that
// stays on the host.
#include "daemon/model/gemma4.h"

#include <cmath>

#include "daemon/model/cache_groups.h"
#include "daemon/model/family.h"

namespace facet::model {
namespace {

using graph::Builder;
using graph::Value;

// The head sizes, rotated elements and bases of the two kinds of layer.
Result<void> read_heads(const ConfigReader& keys, Config& c) {
  const auto count = static_cast<uint32_t>(c.layers.size());
  FACET_TRY(auto sliding, keys.numbers("attention.sliding_window_pattern", 0, 1, count));
  FACET_TRY(auto heads, keys.number_or_numbers("attention.head_count", 1, kMaxHeads, count));
  FACET_TRY(auto kv_heads, keys.number_or_numbers("attention.head_count_kv", 1, kMaxHeads, count));
  for (bool kind : {false, true}) {
    const std::string swa = kind ? "_swa" : "";
    FACET_TRY(uint32_t head_dim, keys.number("attention.key_length" + swa, 2, kMaxHeadDim));
    FACET_TRY(uint32_t value_dim, keys.number("attention.value_length" + swa, 2, kMaxHeadDim));
    FACET_TRY(uint32_t rope_dims, keys.number_or("rope.dimension_count" + swa, 2, head_dim, head_dim));
    FACET_TRY(float base, keys.real("rope.freq_base" + swa, 1.0f, 1e12f));
    if (value_dim != head_dim) {
      return keys.error("attention.value_length" + swa, "is " + std::to_string(value_dim) +
                                                            ", the key_length " + std::to_string(head_dim) +
                                                            ": must be equal");
    }
    if (rope_dims % 2 != 0) return keys.error("rope.dimension_count" + swa, "is odd");
    for (uint32_t i = 0; i < count; ++i) {
      LayerConfig& layer = c.layers[i];
      if ((sliding[i] != 0) != kind) continue;
      layer.sliding = kind;
      layer.head_dim = head_dim;
      layer.rope_dims = rope_dims;
      layer.rope_base = base;
      layer.heads = heads[i];
      layer.kv_heads = kv_heads[i];
    }
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (heads[i] % kv_heads[i] == 0) continue;
    return keys.error("attention.head_count_kv", "is " + std::to_string(kv_heads[i]) + " in layer " +
                                                     std::to_string(i) + ", must divide the " +
                                                     std::to_string(heads[i]) + " heads");
  }
  return {};
}

// A file without experts has no routers, and no keys or a count of 0.
Result<void> read_experts(const ConfigReader& keys, Config& c) {
  bool routers = false;
  for (uint32_t i = 0; i < c.layers.size(); ++i) {
    routers |= keys.file().tensor("blk." + std::to_string(i) + ".ffn_gate_inp.weight") != nullptr;
  }
  if (!routers) {
    FACET_TRY(const uint32_t none, keys.number_or("expert_count", 0, kMaxExperts, 0));
    if (none == 0) return {};
  }
  FACET_TRY(c.experts, keys.number("expert_count", 1, kMaxExperts));
  FACET_TRY(c.experts_used, keys.number("expert_used_count", 1, c.experts));
  FACET_TRY(c.expert_feed_forward, keys.number("expert_feed_forward_length", 1, kMaxFeedForward));
  return {};
}

// Which cache layer each layer reads: its own, or for the last layers that of the last one of their kind that
// has one.
Result<void> share_caches(const ConfigReader& keys, Config& c) {
  const auto count = static_cast<uint32_t>(c.layers.size());
  FACET_TRY(uint32_t shared, keys.number("attention.shared_kv_layers", 0, count - 1));
  std::optional<uint32_t> last[2];  // global, sliding
  for (uint32_t i = 0; i < count; ++i) {
    LayerConfig& layer = c.layers[i];
    layer.owns_cache = i < count - shared;
    if (layer.owns_cache) last[layer.sliding] = i;
    if (!last[layer.sliding]) {
      return keys.error("attention.shared_kv_layers", "is " + std::to_string(shared) + ": layer " +
                                                          std::to_string(i) +
                                                          " has no layer of its kind to share with");
    }
    layer.cache_layer = *last[layer.sliding];
  }
  return {};
}

// Whether global layers take their raw keys as values: none that fills a cache has values of its own.
bool global_keys_are_values(const Weights& w, const Config& c) {
  for (uint32_t i = 0; i < c.layers.size(); ++i) {
    if (c.layers[i].sliding || !c.layers[i].owns_cache) continue;
    const std::string blk = "blk." + std::to_string(i) + ".";
    if (w.has(blk + "attn_v.weight") || w.has(blk + "attn_qkv.weight")) return false;
  }
  return true;
}

// What each layer gets of the token's own embedding, which the host hands in: [rows, layers *
// per_layer_embedding].
Value per_layer_inputs(Builder& b, Weights& w, const Config& c, Value x) {
  const uint32_t e = c.per_layer_embedding, all = static_cast<uint32_t>(c.layers.size()) * e;
  Value rows = b.scale(b.input(kPerLayerEmbedding, all), std::sqrt(static_cast<float>(e)));
  Value projected = b.scale(b.matmul(x, w.matrix("per_layer_model_proj.weight", c.embedding, all)),
                            1 / std::sqrt(static_cast<float>(c.embedding)));
  projected = b.rms_norm(projected, w.vector("per_layer_proj_norm.weight", e), e, c.norm_eps);
  return b.scale(b.add(projected, rows), std::sqrt(0.5f));
}

}  // namespace

Result<Config> read_gemma4_config(const GgufFile& file, const std::string& architecture) {
  ConfigReader keys(file, architecture);
  Config c;
  c.family = architecture;
  FACET_TRY(auto name, file.find_string("general.name"));
  if (name) c.name = *name;
  FACET_TRY(uint32_t layers, keys.number("block_count", 1, kMaxLayers));
  c.layers.resize(layers);
  FACET_TRY(c.context, keys.number("context_length", 1, kMaxContext));
  FACET_TRY(c.embedding, keys.number("embedding_length", 1, kMaxEmbedding));
  FACET_TRY(c.window, keys.number("attention.sliding_window", 1, kMaxContext));
  FACET_TRY(c.norm_eps, keys.real("attention.layer_norm_rms_epsilon", 0.0f, 1.0f));
  c.attention_scale = 1;
  FACET_CHECK(read_heads(keys, c));
  FACET_TRY(auto feed_forward, keys.number_or_numbers("feed_forward_length", 1, kMaxFeedForward, layers));
  for (uint32_t i = 0; i < layers; ++i) c.layers[i].feed_forward = feed_forward[i];
  FACET_CHECK(read_experts(keys, c));
  const char* per_layer =
      "embedding_length_per_layer_input";  // of a drafter, which has none, it may be missing
  FACET_TRY(c.per_layer_embedding, architecture == "gemma4" ? keys.number(per_layer, 0, kMaxEmbedding)
                                                            : keys.number_or(per_layer, 0, kMaxEmbedding, 0));
  FACET_TRY(c.vocabulary, vocabulary_size(file));
  return c;
}

graph::Weight Gemma4Graph::matrix(uint32_t i, const char* name, uint32_t inputs, uint32_t outputs) {
  return w.matrix("blk." + std::to_string(i) + "." + name + ".weight", inputs, outputs);
}

Value Gemma4Graph::norm(uint32_t i, const char* name, Value x, uint32_t segment) {
  return b.rms_norm(x, w.vector("blk." + std::to_string(i) + "." + name + ".weight", segment), segment,
                    c.norm_eps);
}

// The figure: one layer.
Value Gemma4Graph::layer(uint32_t i, Value x, std::optional<Value> per_layer) {
  const uint32_t n = c.embedding;
  x = b.add(x, norm(i, "post_attention_norm", attention(i, norm(i, "attn_norm", x, n)), n));

  Value f = feed_forward(i, norm(i, "ffn_norm", x, n));
  if (c.experts > 0)
    f = b.add(norm(i, "post_ffw_norm_1", f, n), norm(i, "post_ffw_norm_2", experts(i, x), n));
  x = b.add(x, norm(i, "post_ffw_norm", f, n));

  if (per_layer) {
    Value gate = b.matmul(x, matrix(i, "inp_gate", n, c.per_layer_embedding));
    Value mixed =
        b.matmul(b.gated(FACET_GELU_TANH, gate, *per_layer), matrix(i, "proj", c.per_layer_embedding, n));
    x = b.add(x, norm(i, "post_norm", mixed, n));
  }
  return b.scale(x, 1, w.vector("blk." + std::to_string(i) + ".layer_output_scale.weight", 1));
}

Value Gemma4Graph::attention(uint32_t i, Value x) {
  const LayerConfig& l = c.layers[i];
  const uint32_t n = c.embedding, d = l.head_dim, queries = l.heads * d, keys = l.kv_heads * d;
  const Builder::Rope rope{d, l.rope_dims, l.rope_base, l.rope_freq_scale};
  std::optional<graph::Weight> factors;
  if (!l.sliding) factors = w.vector("rope_freqs.weight", l.rope_dims / 2);

  Value q, k, v;
  const std::string fused = "blk." + std::to_string(i) + ".attn_qkv.weight";
  if (w.has(fused)) {
    // A layer that shares a cache may come with keys and values all the same: they are not read.
    Value qkv = b.matmul(x, w.matrix(fused, n, queries + 2 * keys));
    q = b.columns(qkv, 0, queries);
    if (l.owns_cache) {
      k = b.columns(qkv, queries, keys);
      v = b.columns(qkv, queries + keys, keys);
    }
  } else {
    q = b.matmul(x, matrix(i, "attn_q", n, queries));
    if (l.owns_cache) {
      k = b.matmul(x, matrix(i, "attn_k", n, keys));
      v = keys_are_values && !l.sliding ? k : b.matmul(x, matrix(i, "attn_v", n, keys));
    }
  }
  q = b.rope(norm(i, "attn_q_norm", q, d), rope, factors);
  if (l.owns_cache) {
    k = b.rope(norm(i, "attn_k_norm", k, d), rope, factors);
    v = b.rms_norm(v, std::nullopt, d, c.norm_eps);
    b.cache_append({l.cache_layer}, k, v);
  }
  Value o = b.attention({l.cache_layer}, q, l.heads, l.sliding ? c.window : 0, c.attention_scale);
  return b.matmul(o, matrix(i, "attn_output", queries, n));
}

Value Gemma4Graph::feed_forward(uint32_t i, Value x) {
  const uint32_t n = c.embedding, f = c.layers[i].feed_forward;
  Value gate = b.matmul(x, matrix(i, "ffn_gate", n, f));
  Value up = b.matmul(x, matrix(i, "ffn_up", n, f));
  return b.matmul(b.gated(FACET_GELU_TANH, gate, up), matrix(i, "ffn_down", f, n));
}

// x is the residual stream itself: the router norms it in its own way, the experts with their own norm.
Value Gemma4Graph::experts(uint32_t i, Value x) {
  const uint32_t n = c.embedding, f = c.expert_feed_forward, count = c.experts;
  const std::string blk = "blk." + std::to_string(i) + ".";
  Value r = b.scale(b.rms_norm(x, std::nullopt, n, c.norm_eps), 1 / std::sqrt(static_cast<float>(n)),
                    w.vector(blk + "ffn_gate_inp.scale", n));
  Value routes = b.route(b.matmul(r, matrix(i, "ffn_gate_inp", n, count)), c.experts_used);

  Builder::Experts weights;
  if (w.has(blk + "ffn_gate_up_exps.weight")) {
    weights.gate = w.stack(blk + "ffn_gate_up_exps.weight", n, 2 * f, count);
  } else {
    weights.gate = w.stack(blk + "ffn_gate_exps.weight", n, f, count);
    weights.up = w.stack(blk + "ffn_up_exps.weight", n, f, count);
  }
  weights.down = w.stack(blk + "ffn_down_exps.weight", f, n, count);
  weights.factors = w.vector(blk + "ffn_down_exps.scale", count);
  return b.experts(norm(i, "pre_ffw_norm_2", x, n), routes, weights, FACET_GELU_TANH);
}

Result<Family> build_gemma4(const GgufFile& file) {
  FACET_TRY(Config c, read_gemma4_config(file, "gemma4"));
  ConfigReader keys(file, "gemma4");
  FACET_CHECK(share_caches(keys, c));
  // Files from before the key was written mean 30; an explicit 0 is no cap.
  FACET_TRY(c.soft_cap, keys.real_or("final_logit_softcapping", 0.0f, 1e6f, 30.0f));

  Builder b;
  Weights w(file, b);
  CacheGroups groups(b);
  for (const LayerConfig& l : c.layers) {
    if (l.owns_cache) b.cache_layer(groups.of(l.sliding ? c.window : 0), l.kv_heads, l.head_dim, l.head_dim);
  }

  const bool tied = !w.has("output.weight");
  graph::Weight embedding = tied ? w.matrix("token_embd.weight", c.embedding, c.vocabulary)
                                 : w.table("token_embd.weight", c.embedding, c.vocabulary);
  Value x = b.embed(embedding, std::sqrt(static_cast<float>(c.embedding)));
  std::optional<Value> per_layer;
  const GgufTensor* table = nullptr;
  if (const uint32_t e = c.per_layer_embedding; e > 0) {
    per_layer = per_layer_inputs(b, w, c, x);
    table = w.host_table("per_layer_token_embd.weight", uint64_t{e} * c.layers.size(), c.vocabulary);
  }
  Gemma4Graph graph{b, w, c, global_keys_are_values(w, c)};
  for (uint32_t i = 0; i < c.layers.size(); ++i) {
    std::optional<Value> own;
    if (per_layer) own = b.columns(*per_layer, i * c.per_layer_embedding, c.per_layer_embedding);
    x = graph.layer(i, x, own);
  }
  x = b.rms_norm(b.select(x), w.vector("output_norm.weight", c.embedding), c.embedding, c.norm_eps);
  Value logits = b.matmul(x, tied ? embedding : w.matrix("output.weight", c.embedding, c.vocabulary));
  if (c.soft_cap > 0) logits = b.soft_cap(logits, c.soft_cap);
  b.output(kLogits, logits);
  b.output(kHidden, x);

  FACET_CHECK(w.check());
  auto program = b.build();
  if (!program.ok()) return file.error(program.error().code, program.error().message);
  return Family{std::move(c), std::move(*program), groups.windows(), table};
}

}  // namespace facet::model
