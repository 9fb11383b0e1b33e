// Any bytes as a model file: what is accepted can be read whole without leaving the input.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "daemon/model/gguf.h"
#include "daemon/model/vocabulary_gguf.h"
#include "daemon/text/tokenizer.h"

namespace {

void require(bool truth) {
  if (!truth) std::abort();
}

void read_everything(const facet::model::GgufFile& file, size_t size) {
  uint64_t sum = 0;
  for (const auto& entry : file.entries()) {
    require(file.entry(entry.key) == &entry);
    if (auto value = file.find_i64(entry.key); value.ok()) sum += static_cast<uint64_t>(**value);
    if (auto value = file.find_f32(entry.key); value.ok()) sum += **value > 0;
    if (auto value = file.find_string(entry.key); value.ok()) require((*value)->size() <= size);
    if (auto values = file.find_integers(entry.key); values.ok()) {
      for (size_t i = 0; i < (*values)->size(); ++i) sum += static_cast<uint64_t>((**values)[i]);
    }
    if (auto values = file.find_floats(entry.key); values.ok()) {
      for (size_t i = 0; i < (*values)->size(); ++i) sum += (**values)[i] > 0;
    }
    if (auto values = file.find_strings(entry.key); values.ok()) {
      for (std::string_view value : **values) require(value.size() <= size);
    }
  }
  for (const auto& tensor : file.tensors()) {
    require(file.tensor(tensor.name) == &tensor);
    require(tensor.row_bytes() * tensor.rows() == tensor.data.size());
    for (std::byte b : tensor.data) sum += static_cast<uint64_t>(b);
  }
  volatile uint64_t keep = sum;
  (void)keep;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto file = facet::model::GgufFile::parse(std::as_bytes(std::span(data, size)), "input");
  if (!file.ok()) {
    require(file.error().message.size() < 1000);
    return 0;
  }
  read_everything(*file, size);
  auto vocabulary = facet::model::read_vocabulary(*file);
  if (!vocabulary.ok()) return 0;
  auto tokenizer = facet::text::Tokenizer::make(std::move(*vocabulary));
  if (!tokenizer.ok()) return 0;
  auto tokens = tokenizer->encode("a text of <words>\n\xE2\x96\x81 \xFF", {.special = true, .bos = true});
  require(tokens.ok() && tokenizer->decode(*tokens, true).ok());
  return 0;
}
