// Model files that are well-formed but wrong: each is refused by a message that names the file and the thing.
#include <doctest/doctest.h>

#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>

#include "daemon/model/model.h"
#include "tests/model/gguf_bytes.h"
#include "tests/test_models.h"

namespace model = facet::model;
namespace test = facet::test;
using model::GgufType;

namespace {

struct Tensor {
  std::vector<uint64_t> dims;
  uint32_t type = FACET_TYPE_F32;
  std::string data;
};

// The tiny model taken apart, to be put together with one thing changed.
struct Parts {
  Parts() {
    auto file = model::GgufFile::open(test::tiny_model_path("gemma3"));
    REQUIRE(file.ok());
    for (const model::GgufEntry& entry : file->entries()) {
      const std::string data(reinterpret_cast<const char*>(entry.data.data()), entry.data.size());
      test::Bytes value;
      if (entry.type == GgufType::kArray)
        value.number(static_cast<uint32_t>(entry.element)).number(entry.count);
      entries[std::string(entry.key)] = {static_cast<uint32_t>(entry.type), value.raw(data).str()};
    }
    for (const model::GgufTensor& tensor : file->tensors()) {
      tensors[std::string(tensor.name)] = {
          {tensor.dims.begin(), tensor.dims.begin() + tensor.dims_count},
          tensor.type,
          std::string(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size())};
    }
  }

  void set_u32(const std::string& key, uint32_t value) {
    entries[key] = {static_cast<uint32_t>(GgufType::kUint32), test::Bytes().number(value).str()};
  }
  void set_f32(const std::string& key, float value) {
    entries[key] = {static_cast<uint32_t>(GgufType::kFloat32), test::Bytes().number(value).str()};
  }
  void set_string(const std::string& key, const std::string& value) {
    entries[key] = {static_cast<uint32_t>(GgufType::kString), test::Bytes().string(value).str()};
  }

  std::string bytes() const {
    test::GgufBytes out;
    for (const auto& [key, entry] : entries) out.entry(key, entry.first, entry.second);
    for (const auto& [name, tensor] : tensors) out.tensor(name, tensor.dims, tensor.type, tensor.data);
    return out.str();
  }

  std::map<std::string, std::pair<uint32_t, std::string>> entries;  // type and value
  std::map<std::string, Tensor> tensors;
};

// A path of this process, gone when the test is over.
struct TemporaryFile {
  std::string path =
      (std::filesystem::temp_directory_path() / ("facet-refusals-" + std::to_string(::getpid()) + ".gguf"))
          .string();
  ~TemporaryFile() { std::filesystem::remove(path); }
};

struct Wrong {
  std::string names;  // what the message says
  std::function<void(Parts&)> change;
};

void drop_key(Parts& parts, const std::string& key) {
  REQUIRE(parts.entries.erase(key) == 1);
}

void drop_tensor(Parts& parts, const std::string& name) {
  REQUIRE(parts.tensors.erase(name) == 1);
}

Tensor& tensor(Parts& parts, const std::string& name) {
  REQUIRE(parts.tensors.count(name) == 1);
  return parts.tensors[name];
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
      {"no tensor token_embd.weight", [](Parts& p) { drop_tensor(p, "token_embd.weight"); }},
      {"no tensor output_norm.weight", [](Parts& p) { drop_tensor(p, "output_norm.weight"); }},
      {"no tensor blk.7.post_ffw_norm.weight",
       [](Parts& p) { drop_tensor(p, "blk.7.post_ffw_norm.weight"); }},
      {"no tensor blk.0.attn_k.weight", [](Parts& p) { drop_tensor(p, "blk.0.attn_k.weight"); }},
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

}  // namespace

TEST_CASE("the model that is taken apart and put together again is accepted") {
  const TemporaryFile file;
  test::write_file(file.path, Parts().bytes());
  auto loaded = model::Model::load(file.path);
  REQUIRE_MESSAGE(loaded.ok(), loaded.error().message);
  CHECK((*loaded)->config().layers.size() == 8);
}

TEST_CASE("a wrong model is refused by its name and what is wrong") {
  const TemporaryFile file;
  for (const Wrong& wrong : wrong_models()) {
    CAPTURE(wrong.names);
    Parts parts;
    wrong.change(parts);
    test::write_file(file.path, parts.bytes());
    auto loaded = model::Model::load(file.path);
    CHECK_FALSE(loaded.ok());
    if (loaded.ok()) continue;
    CAPTURE(loaded.error().message);
    CHECK(loaded.error().message.find(wrong.names) != std::string::npos);
    CHECK(loaded.error().message.rfind(file.path, 0) == 0);
    CHECK(loaded.error().message.find('\n') == std::string::npos);
  }
}
