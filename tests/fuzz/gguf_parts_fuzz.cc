// Any bytes as a model in two parts: 4 bytes, the length of the first part, then the parts. What is accepted
// can be read whole, and is found by name.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "daemon/model/gguf.h"

namespace {

using facet::model::GgufFile;

void require(bool truth) {
  if (!truth) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  uint32_t length = 0;
  if (size < sizeof length) return 0;
  std::memcpy(&length, data, sizeof length);
  const auto both = std::as_bytes(std::span(data, size)).subspan(sizeof length);
  const size_t cut = std::min<size_t>(length, both.size());
  std::vector<GgufFile> parts;
  for (auto bytes : {both.first(cut), both.subspan(cut)}) {
    auto part = GgufFile::parse(bytes, "part");
    if (!part.ok()) return 0;
    parts.push_back(std::move(*part));
  }
  const size_t tensors = parts[0].tensors().size() + parts[1].tensors().size();
  auto whole = GgufFile::join(std::move(parts));
  if (!whole.ok()) {
    require(whole.error().message.size() < 1000);
    return 0;
  }
  require(whole->tensors().size() == tensors);
  uint64_t sum = 0;
  for (const auto& tensor : whole->tensors()) {
    require(whole->tensor(tensor.name) == &tensor);
    for (std::byte b : tensor.data) sum += static_cast<uint64_t>(b);
  }
  volatile uint64_t keep = sum;
  (void)keep;
  return 0;
}
