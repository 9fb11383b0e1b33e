// The drafter of a Gemma 4 model (multi-token prediction): a few small layers that guess the next token.
//
// It has no cache: its sliding layers read the target's last sliding cache layer, its global ones the last
// global. Its input is the target's embedding of the last token and the target's state before the output
// matrix; the next guess is fed its own state. A row's position is that of the token after the target's
// cache, also for later guesses. Its logits have no soft cap, whatever a file's keys say.
#include <cmath>

#include "daemon/model/family.h"
#include "daemon/model/gemma4.h"

namespace facet::model {
namespace {

using graph::Builder;
using graph::Value;

// The target's last cache layer of each kind that the drafter's layers read; they must have the same heads.
Result<void> read_target_caches(const GgufFile& file, const Config& target, Config& c) {
  const LayerConfig* last[2] = {};  // global, sliding
  for (const LayerConfig& layer : target.layers) {
    if (layer.owns_cache) last[layer.sliding] = &layer;
  }
  for (uint32_t i = 0; i < c.layers.size(); ++i) {
    LayerConfig& layer = c.layers[i];
    const LayerConfig* source = last[layer.sliding];
    const std::string where = "layer " + std::to_string(i) + " of the drafter";
    if (source == nullptr)
      return file.error(FACET_MALFORMED, where + ": the target has no layer of its kind");
    if (source->kv_heads != layer.kv_heads || source->head_dim != layer.head_dim) {
      return file.error(FACET_MALFORMED, where + " has " + std::to_string(layer.kv_heads) + " KV heads of " +
                                             std::to_string(layer.head_dim) + ", the target " +
                                             std::to_string(source->kv_heads) + " of " +
                                             std::to_string(source->head_dim));
    }
    layer.owns_cache = false;
    layer.cache_layer = source->cache_layer;
  }
  if (c.window != target.window) {
    return file.error(FACET_MALFORMED, "the drafter's window is " + std::to_string(c.window) +
                                           ", the target's " + std::to_string(target.window));
  }
  return {};
}

}  // namespace

Result<Family> build_gemma4_assistant(const GgufFile& file, const GgufFile& target_file,
                                      const Family& target) {
  FACET_TRY(std::string_view architecture, file.string("general.architecture"));
  if (architecture != "gemma4-assistant") {
    return file.error(FACET_UNSUPPORTED, "architecture " + quoted(architecture) + " is not gemma4-assistant");
  }
  if (target.config.family != "gemma4") {
    return file.error(FACET_UNSUPPORTED, "a drafter for gemma4 cannot draft for " + target.config.family);
  }
  FACET_TRY(Config c, read_gemma4_config(file, "gemma4-assistant"));
  ConfigReader keys(file, "gemma4-assistant");
  FACET_TRY(uint32_t state, keys.number("embedding_length_out", 1, kMaxEmbedding));
  const Config& t = target.config;
  if (state != t.embedding) {
    return keys.error(
        "embedding_length_out",
        "is " + std::to_string(state) + ", the target's embedding_length " + std::to_string(t.embedding));
  }
  if (c.vocabulary != t.vocabulary) {
    return file.error(FACET_MALFORMED, "the drafter has " + std::to_string(c.vocabulary) +
                                           " tokens, the target " + std::to_string(t.vocabulary));
  }
  if (c.experts > 0 || c.per_layer_embedding > 0) {
    return file.error(FACET_UNSUPPORTED, "a drafter with experts or per-layer embeddings");
  }
  FACET_CHECK(read_target_caches(file, t, c));

  Builder b;
  Weights w(file, b), from_target(target_file, b);
  for (const facet_cache_group& group : target.program.cache_groups()) b.cache_group(group.page_positions);
  for (const facet_cache_layer& layer : target.program.cache_layers()) {
    b.cache_layer({layer.group}, layer.kv_heads, layer.key_dim, layer.value_dim);
  }
  Value token = b.embed(from_target.table("token_embd.weight", t.embedding, t.vocabulary),
                        std::sqrt(static_cast<float>(t.embedding)));
  Value x = b.matmul(b.concat(token, b.input(kHidden, t.embedding)),
                     w.matrix("nextn.pre_projection.weight", 2 * t.embedding, c.embedding));
  Gemma4Graph graph{b, w, c};
  for (uint32_t i = 0; i < c.layers.size(); ++i) x = graph.layer(i, x, std::nullopt);
  x = b.rms_norm(b.select(x), w.vector("output_norm.weight", c.embedding), c.embedding, c.norm_eps);
  b.output(kLogits, b.matmul(x, w.matrix("token_embd.weight", c.embedding, c.vocabulary)));
  b.output(kHidden, b.matmul(x, w.matrix("nextn.post_projection.weight", c.embedding, t.embedding)));

  FACET_CHECK(w.check());
  FACET_CHECK(from_target.check());
  auto program = b.build();
  if (!program.ok()) return file.error(program.error().code, program.error().message);
  return Family{std::move(c), std::move(*program), target.windows, nullptr};
}

}  // namespace facet::model
