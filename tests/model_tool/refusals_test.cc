// Model files that are well-formed but wrong: each is refused by a message that names the file and the thing.
#include <doctest/doctest.h>

#include <cmath>

#include "tests/model_tool/model_parts.h"

namespace model = facet::model;
namespace test = facet::test;
using test::drop_key;
using test::drop_tensor;
using test::Parts;
using test::Tensor;
using test::tensor;
using test::Wrong;

namespace {

Wrong without_tensor(const std::string& name) {
  return {"no tensor " + name, [name](Parts& p) { drop_tensor(p, name); }};
}

// Twice as wide as it should be.
Wrong too_wide(const std::string& name) {
  return {"tensor " + name + " is ", [name](Parts& p) {
            Tensor& twice = tensor(p, name);
            twice.dims[0] *= 2;
            twice.data += twice.data;
          }};
}

const std::vector<Wrong>& wrong_models() {
  static const std::vector<Wrong> all{
      {"general.architecture", [](Parts& p) { drop_key(p, "general.architecture"); }},
      {"architecture llama", [](Parts& p) { p.set_string("general.architecture", "llama"); }},
      {"general.architecture", [](Parts& p) { p.set_u32("general.architecture", 3); }},
      {"gemma3.block_count", [](Parts& p) { drop_key(p, "gemma3.block_count"); }},
      {"gemma3.block_count", [](Parts& p) { p.set_u32("gemma3.block_count", 0); }},
      {"gemma3.block_count", [](Parts& p) { p.set_u32("gemma3.block_count", 4000000000u); }},
      {"blk.8.", [](Parts& p) { p.set_u32("gemma3.block_count", 9); }},
      {"gemma3.context_length", [](Parts& p) { drop_key(p, "gemma3.context_length"); }},
      {"gemma3.context_length", [](Parts& p) { p.set_u32("gemma3.context_length", 0); }},
      {"gemma3.embedding_length", [](Parts& p) { p.set_string("gemma3.embedding_length", "64"); }},
      {"token_embd.weight", [](Parts& p) { p.set_u32("gemma3.embedding_length", 96); }},
      {"gemma3.feed_forward_length", [](Parts& p) { drop_key(p, "gemma3.feed_forward_length"); }},
      {"ffn_gate.weight", [](Parts& p) { p.set_u32("gemma3.feed_forward_length", 128); }},
      {"gemma3.attention.head_count", [](Parts& p) { p.set_u32("gemma3.attention.head_count", 0); }},
      {"attn_q.weight", [](Parts& p) { p.set_u32("gemma3.attention.head_count", 8); }},
      {"head_count_kv", [](Parts& p) { p.set_u32("gemma3.attention.head_count_kv", 3); }},
      {"key_length", [](Parts& p) { p.set_u32("gemma3.attention.key_length", 33); }},
      {"key_length", [](Parts& p) { p.set_u32("gemma3.attention.value_length", 16); }},
      {"sliding_window", [](Parts& p) { p.set_u32("gemma3.attention.sliding_window", 0); }},
      {"layer_norm_rms_epsilon", [](Parts& p) { p.set_f32("gemma3.attention.layer_norm_rms_epsilon", NAN); }},
      {"rope.freq_base", [](Parts& p) { p.set_f32("gemma3.rope.freq_base", -1.0f); }},
      {"rope.scaling.type", [](Parts& p) { p.set_string("gemma3.rope.scaling.type", "yarn"); }},
      {"rope.scaling.factor", [](Parts& p) { p.set_f32("gemma3.rope.scaling.factor", 0.0f); }},
      {"tokenizer.ggml.tokens", [](Parts& p) { drop_key(p, "tokenizer.ggml.tokens"); }},
      {"tokenizer.ggml.model", [](Parts& p) { drop_key(p, "tokenizer.ggml.model"); }},
      {"gpt2", [](Parts& p) { p.set_string("tokenizer.ggml.model", "gpt2"); }},
      without_tensor("token_embd.weight"),
      without_tensor("output_norm.weight"),
      without_tensor("blk.7.post_ffw_norm.weight"),
      without_tensor("blk.0.attn_k.weight"),
      {"token_embd.weight", [](Parts& p) { tensor(p, "token_embd.weight").dims[1] = 1023; }},
      {"blk.3.attn_q.weight is 128 x 64",
       [](Parts& p) {
         tensor(p, "blk.3.attn_q.weight").dims = {128, 64};
       }},
      {"blk.3.attn_q.weight",
       [](Parts& p) {
         tensor(p, "blk.3.attn_q.weight").dims = {64, 64, 2};
       }},
      {"blk.0.attn_norm.weight is not F32",
       [](Parts& p) {
         Tensor& norm = tensor(p, "blk.0.attn_norm.weight");
         norm.type = FACET_TYPE_F16;
         norm.data.resize(norm.data.size() / 2);
       }},
      {"blk.0.attn_norm.weight", [](Parts& p) { tensor(p, "blk.0.attn_norm.weight").type = 4; }},
      {"output.weight", [](Parts& p) { p.tensors["output.weight"] = tensor(p, "blk.0.attn_q.weight"); }},
  };
  return all;
}

// Gemma 4 with shared caches and per-layer embeddings: 15 layers, 5 of them shared, every fifth global.
const std::vector<Wrong>& wrong_small_models() {
  static const std::vector<Wrong> all = [] {
    std::vector<Wrong> wrongs;
    for (const std::string key :
         {"block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count",
          "attention.head_count_kv", "attention.key_length", "attention.value_length",
          "attention.key_length_swa", "attention.value_length_swa", "attention.sliding_window",
          "attention.sliding_window_pattern", "attention.layer_norm_rms_epsilon",
          "attention.shared_kv_layers", "embedding_length_per_layer_input", "rope.freq_base",
          "rope.freq_base_swa"}) {
      wrongs.push_back({"gemma4." + key, [key](Parts& p) { drop_key(p, "gemma4." + key); }});
      wrongs.push_back({"gemma4." + key, [key](Parts& p) { p.set_string("gemma4." + key, "many"); }});
    }
    for (const std::string name : {"token_embd",
                                   "output_norm",
                                   "rope_freqs",
                                   "per_layer_token_embd",
                                   "per_layer_model_proj",
                                   "per_layer_proj_norm",
                                   "blk.0.attn_norm",
                                   "blk.0.attn_q",
                                   "blk.0.attn_k",
                                   "blk.0.attn_v",
                                   "blk.9.attn_v",
                                   "blk.0.attn_output",
                                   "blk.0.attn_q_norm",
                                   "blk.0.attn_k_norm",
                                   "blk.0.post_attention_norm",
                                   "blk.0.layer_output_scale",
                                   "blk.0.ffn_norm",
                                   "blk.0.ffn_gate",
                                   "blk.0.ffn_up",
                                   "blk.0.ffn_down",
                                   "blk.0.post_ffw_norm",
                                   "blk.0.inp_gate",
                                   "blk.0.proj",
                                   "blk.0.post_norm",
                                   "blk.14.attn_q",
                                   "blk.14.ffn_down"}) {
      wrongs.push_back(without_tensor(name + ".weight"));
      wrongs.push_back(too_wide(name + ".weight"));
    }
    const std::vector<Wrong> more{
        {"sliding_window_pattern has 14 elements, must have 15",
         [](Parts& p) {
           p.set_numbers("gemma4.attention.sliding_window_pattern", std::vector<uint32_t>(14, 1));
         }},
        {"sliding_window_pattern [3] is 2",
         [](Parts& p) {
           std::vector<uint32_t> pattern(15, 1);
           pattern[3] = 2;
           p.set_numbers("gemma4.attention.sliding_window_pattern", pattern);
         }},
        {"gemma4.attention.sliding_window_pattern",
         [](Parts& p) { p.set_u32("gemma4.attention.sliding_window_pattern", 1); }},
        {"feed_forward_length has 3 elements",
         [](Parts& p) {
           p.set_numbers("gemma4.feed_forward_length", {64, 64, 64});
         }},
        {"feed_forward_length [0] is 0",
         [](Parts& p) { p.set_numbers("gemma4.feed_forward_length", std::vector<uint32_t>(15, 0)); }},
        {"blk.10.ffn_gate.weight is 64 x 128, the metadata ask for 64 x 64",
         [](Parts& p) { p.set_u32("gemma4.feed_forward_length", 64); }},
        {"head_count_kv", [](Parts& p) { p.set_u32("gemma4.attention.head_count_kv", 3); }},
        {"head_count_kv has 2 elements",
         [](Parts& p) {
           p.set_numbers("gemma4.attention.head_count_kv", {1, 1});
         }},
        {"shared_kv_layers is 15", [](Parts& p) { p.set_u32("gemma4.attention.shared_kv_layers", 15); }},
        {"shared_kv_layers is 16", [](Parts& p) { p.set_u32("gemma4.attention.shared_kv_layers", 16); }},
        {"shared_kv_layers is 14: layer 4",
         [](Parts& p) { p.set_u32("gemma4.attention.shared_kv_layers", 14); }},
        {"value_length_swa is 8, the key_length 16",
         [](Parts& p) { p.set_u32("gemma4.attention.value_length_swa", 8); }},
        {"rope.dimension_count is 33", [](Parts& p) { p.set_u32("gemma4.rope.dimension_count", 33); }},
        {"rope.dimension_count_swa is odd",
         [](Parts& p) { p.set_u32("gemma4.rope.dimension_count_swa", 15); }},
        {"rope_freqs.weight is 16 x 1, the metadata ask for 8 x 1",
         [](Parts& p) { p.set_u32("gemma4.rope.dimension_count", 16); }},
        {"embedding_length_per_layer_input",
         [](Parts& p) { p.set_u32("gemma4.embedding_length_per_layer_input", 100000); }},
        {"per_layer_model_proj.weight",
         [](Parts& p) { p.set_u32("gemma4.embedding_length_per_layer_input", 8); }},
        {"final_logit_softcapping", [](Parts& p) { p.set_f32("gemma4.final_logit_softcapping", NAN); }},
        {"expert_used_count", [](Parts& p) { p.set_u32("gemma4.expert_count", 8); }},
        {"drafter", [](Parts& p) { p.set_string("general.architecture", "gemma4-assistant"); }},
    };
    wrongs.insert(wrongs.end(), more.begin(), more.end());
    return wrongs;
  }();
  return all;
}

// Gemma 4 with 16 experts, 4 used, gates and ups in one tensor.
const std::vector<Wrong>& wrong_mixtures() {
  static const std::vector<Wrong> all = [] {
    std::vector<Wrong> wrongs{
        {"gemma4.expert_count", [](Parts& p) { drop_key(p, "gemma4.expert_count"); }},
        {"gemma4.expert_count is 0", [](Parts& p) { p.set_u32("gemma4.expert_count", 0); }},
        {"gemma4.expert_count is 1000000", [](Parts& p) { p.set_u32("gemma4.expert_count", 1000000); }},
        {"blk.0.ffn_gate_inp.weight is 64 x 16, the metadata ask for 64 x 8",
         [](Parts& p) { p.set_u32("gemma4.expert_count", 8); }},
        {"gemma4.expert_used_count is 17", [](Parts& p) { p.set_u32("gemma4.expert_used_count", 17); }},
        {"gemma4.expert_used_count is 0", [](Parts& p) { p.set_u32("gemma4.expert_used_count", 0); }},
        {"gemma4.expert_used_count", [](Parts& p) { drop_key(p, "gemma4.expert_used_count"); }},
        {"gemma4.expert_feed_forward_length",
         [](Parts& p) { drop_key(p, "gemma4.expert_feed_forward_length"); }},
        {"ffn_gate_up_exps.weight is 64 x 64 x 16, the metadata ask for 64 x 32 x 16",
         [](Parts& p) { p.set_u32("gemma4.expert_feed_forward_length", 16); }},
        {"no tensor blk.5.ffn_gate_exps.weight",
         [](Parts& p) { drop_tensor(p, "blk.5.ffn_gate_up_exps.weight"); }},
        too_wide("blk.5.ffn_gate_up_exps.weight"),
    };
    for (const std::string name :
         {"ffn_gate_inp.weight", "ffn_gate_inp.scale", "pre_ffw_norm_2.weight", "post_ffw_norm_1.weight",
          "post_ffw_norm_2.weight", "ffn_down_exps.weight", "ffn_down_exps.scale"}) {
      wrongs.push_back(without_tensor("blk.5." + name));
      wrongs.push_back(too_wide("blk.5." + name));
    }
    return wrongs;
  }();
  return all;
}

// The same with gates and ups apart.
const std::vector<Wrong>& wrong_split_mixtures() {
  static const std::vector<Wrong> all{
      without_tensor("blk.2.ffn_gate_exps.weight"),
      without_tensor("blk.2.ffn_up_exps.weight"),
      {"blk.2.ffn_up_exps.weight is 64 x 16 x 32, the metadata ask for 64 x 32 x 16",
       [](Parts& p) {
         tensor(p, "blk.2.ffn_up_exps.weight").dims = {64, 16, 32};
       }},
  };
  return all;
}

// Queries, keys and values in one tensor; an output matrix of its own.
const std::vector<Wrong>& wrong_fused_models() {
  static const std::vector<Wrong> all{
      {"no tensor blk.0.attn_q.weight", [](Parts& p) { drop_tensor(p, "blk.0.attn_qkv.weight"); }},
      too_wide("blk.0.attn_qkv.weight"),
      too_wide("output.weight"),
  };
  return all;
}

// The drafter of dense31b: 3 sliding layers with 4 KV heads of 16, a global one with 2 of 32.
const std::vector<Wrong>& wrong_drafters() {
  static const std::vector<Wrong> all = [] {
    const std::string family = "gemma4-assistant.";
    std::vector<Wrong> wrongs;
    for (const std::string key :
         {"block_count", "context_length", "embedding_length", "embedding_length_out", "feed_forward_length",
          "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
          "attention.key_length_swa", "attention.value_length_swa", "attention.sliding_window",
          "attention.sliding_window_pattern", "attention.layer_norm_rms_epsilon", "rope.freq_base",
          "rope.freq_base_swa"}) {
      wrongs.push_back({family + key, [=](Parts& p) { drop_key(p, family + key); }});
      wrongs.push_back({family + key, [=](Parts& p) { p.set_string(family + key, "many"); }});
    }
    wrongs.push_back({"general.architecture", [](Parts& p) { drop_key(p, "general.architecture"); }});
    wrongs.push_back({"tokenizer.ggml.tokens", [](Parts& p) { drop_key(p, "tokenizer.ggml.tokens"); }});
    for (const std::string name :
         {"token_embd", "output_norm", "rope_freqs", "nextn.pre_projection", "nextn.post_projection",
          "blk.0.attn_norm", "blk.0.attn_q", "blk.0.attn_q_norm", "blk.0.attn_output",
          "blk.0.post_attention_norm", "blk.0.layer_output_scale", "blk.0.ffn_norm", "blk.0.ffn_gate",
          "blk.0.ffn_up", "blk.0.ffn_down", "blk.0.post_ffw_norm", "blk.3.attn_q", "blk.3.ffn_down"}) {
      wrongs.push_back(
          {"no tensor " + name + ".weight", [name](Parts& p) { drop_tensor(p, name + ".weight"); }});
      wrongs.push_back({"tensor " + name + ".weight", [name](Parts& p) {
                          Tensor& twice = tensor(p, name + ".weight");
                          twice.dims[0] *= 2;
                          twice.data += twice.data;
                        }});
    }
    const std::vector<Wrong> more{
        {"nextn.pre_projection.weight is 32 x 128, the metadata ask for 128 x 32",
         [](Parts& p) {
           tensor(p, "nextn.pre_projection.weight").dims = {32, 128};
         }},
        {"nextn.post_projection.weight is 64 x 32, the metadata ask for 32 x 64",
         [](Parts& p) {
           tensor(p, "nextn.post_projection.weight").dims = {64, 32};
         }},
        {"embedding_length_out is 32, the target's embedding_length 64",
         [](Parts& p) { p.set_u32("gemma4-assistant.embedding_length_out", 32); }},
        {"embedding_length_out is 0",
         [](Parts& p) { p.set_u32("gemma4-assistant.embedding_length_out", 0); }},
        {"the drafter's window is 25, the target's 24",
         [](Parts& p) { p.set_u32("gemma4-assistant.attention.sliding_window", 25); }},
        {"layer 1 of the drafter has 2 KV heads of 16, the target 4 of 16",
         [](Parts& p) {
           p.set_numbers("gemma4-assistant.attention.head_count_kv", {4, 2, 4, 2});
         }},
        {"layer 3 of the drafter has 4 KV heads of 32, the target 2 of 32",
         [](Parts& p) { p.set_u32("gemma4-assistant.attention.head_count_kv", 4); }},
        {"layer 0 of the drafter has 4 KV heads of 32, the target 4 of 16",
         [](Parts& p) {
           p.set_u32("gemma4-assistant.attention.key_length_swa", 32);
           p.set_u32("gemma4-assistant.attention.value_length_swa", 32);
         }},
        {"layer 3 of the drafter has 2 KV heads of 64, the target 2 of 32",
         [](Parts& p) {
           p.set_u32("gemma4-assistant.attention.key_length", 64);
           p.set_u32("gemma4-assistant.attention.value_length", 64);
         }},
        {"layer 0 of the drafter has 4 KV heads of 32, the target 2 of 32",
         [](Parts& p) {
           p.set_numbers("gemma4-assistant.attention.sliding_window_pattern", {0, 1, 1, 0});
         }},
        {"sliding_window_pattern has 3 elements, must have 4",
         [](Parts& p) {
           p.set_numbers("gemma4-assistant.attention.sliding_window_pattern", {1, 1, 1});
         }},
        {"blk.4.",
         [](Parts& p) {
           p.set_u32("gemma4-assistant.block_count", 5);
           p.set_numbers("gemma4-assistant.attention.head_count_kv", {4, 4, 4, 2, 4});
           p.set_numbers("gemma4-assistant.attention.sliding_window_pattern", {1, 1, 1, 0, 1});
         }},
        {"experts or per-layer embeddings",
         [](Parts& p) { p.set_u32("gemma4-assistant.embedding_length_per_layer_input", 16); }},
        {"experts or per-layer embeddings",
         [](Parts& p) {
           p.set_u32("gemma4-assistant.expert_count", 8);
           p.set_u32("gemma4-assistant.expert_used_count", 2);
           p.set_u32("gemma4-assistant.expert_feed_forward_length", 32);
         }},
    };
    wrongs.insert(wrongs.end(), more.begin(), more.end());
    return wrongs;
  }();
  return all;
}

std::shared_ptr<const model::Model> load(const std::string& path) {
  auto loaded = model::Model::load(path);
  REQUIRE_MESSAGE(loaded.ok(), loaded.error().message);
  return *loaded;
}

// dense31b with its first layers only, all of one kind, which has the sliding layers' heads.
std::shared_ptr<const model::Model> target_of_one_kind(bool sliding) {
  Parts parts(test::tiny_model_path("dense31b"));
  const std::vector<uint32_t> pattern(2, sliding);
  parts.set_u32("gemma4.block_count", 2);
  parts.set_u32("gemma4.attention.head_count_kv", 4);
  parts.set_numbers("gemma4.attention.sliding_window_pattern", pattern);
  if (!sliding) {
    for (const char* key : {"attention.key_length", "attention.value_length", "rope.dimension_count"}) {
      parts.set_u32(std::string("gemma4.") + key, 16);
    }
    Tensor& factors = tensor(parts, "rope_freqs.weight");
    factors.dims = {8};
    factors.data.resize(8 * sizeof(float));
  }
  const test::TemporaryFile file;
  test::write_file(file.path, parts.bytes());
  return load(file.path);
}

}  // namespace

TEST_CASE("the model that is taken apart and put together again is accepted") {
  for (const std::string name : {"gemma3", "e2b", "e4b", "e4b-fused", "dense31b", "moe26b", "moe26b-split"}) {
    CAPTURE(name);
    const test::TemporaryFile file;
    test::write_file(file.path, Parts(test::tiny_model_path(name)).bytes());
    auto loaded = model::Model::load(file.path);
    REQUIRE_MESSAGE(loaded.ok(), (loaded.ok() ? "" : loaded.error().message));
  }
}

TEST_CASE("a wrong Gemma 3 is refused by its name and what is wrong") {
  test::check_refused(test::tiny_model_path("gemma3"), wrong_models());
}

TEST_CASE("a wrong Gemma 4 is refused by its name and what is wrong") {
  test::check_refused(test::tiny_model_path("e2b"), wrong_small_models());
  test::check_refused(test::tiny_model_path("moe26b"), wrong_mixtures());
  test::check_refused(test::tiny_model_path("moe26b-split"), wrong_split_mixtures());
  test::check_refused(test::tiny_model_path("e4b-fused"), wrong_fused_models());
  // Layers that share a cache: of a fused tensor only the queries are read, but it is a whole one.
  test::check_refused(test::tiny_model_path("e2b-fused"), {too_wide("blk.14.attn_qkv.weight")});
}

TEST_CASE("a wrong drafter is refused by its name and what is wrong") {
  const auto target = load(test::tiny_model_path("dense31b"));
  const std::string path = test::tiny_model_path("mtp-dense31b-drafter");
  auto beside = [&](const std::string& drafter) { return model::Drafter::load(drafter, target); };
  {
    const test::TemporaryFile whole;
    test::write_file(whole.path, Parts(path).bytes());
    REQUIRE(beside(whole.path).ok());
  }
  test::check_refused(path, wrong_drafters(), beside);
}

TEST_CASE("a drafter with layers of a kind that its target has none of is refused") {
  for (bool sliding : {false, true}) {
    CAPTURE(sliding);
    auto drafter =
        model::Drafter::load(test::tiny_model_path("mtp-dense31b-drafter"), target_of_one_kind(sliding));
    REQUIRE(!drafter.ok());
    CHECK(drafter.error().message.find(
              sliding ? "layer 3 of the drafter: the target has no layer of its kind"
                      : "layer 0 of the drafter: the target has no layer of its kind") != std::string::npos);
  }
}
