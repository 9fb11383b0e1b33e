#include "backends/onednn/cache.h"

#include <cstring>
#include <limits>

namespace facet::cpu {

CacheShape::CacheShape(const plugin::Layout& layout)
    : element_bytes_(layout.type == FACET_TYPE_F16 ? sizeof(uint16_t) : sizeof(float)),
      page_bytes_(layout.groups.size()) {
  for (const facet_cache_layer& layer : layout.layers) {
    size_t positions = layout.groups[layer.group].page_positions;
    head_bytes_.push_back(positions * (size_t{layer.key_dim} + layer.value_dim) * element_bytes_);
    layer_offsets_.push_back(page_bytes_[layer.group]);
    page_bytes_[layer.group] += head_bytes_.back() * layer.kv_heads;
  }
}

uint64_t CacheShape::bytes(const std::vector<uint32_t>& pages) const {
  uint64_t sum = 0;
  for (size_t g = 0; g < pages.size(); ++g) {
    uint64_t bytes;
    if (__builtin_mul_overflow(uint64_t{pages[g]}, uint64_t{page_bytes_[g]}, &bytes) ||
        __builtin_add_overflow(sum, bytes, &sum) || sum > std::numeric_limits<int64_t>::max()) {
      throw plugin::Failure(FACET_TOO_LARGE, "cache group " + std::to_string(g) + ": " +
                                                 std::to_string(pages[g]) + " pages are beyond any memory");
    }
  }
  return sum;
}

Cache::Cache(const plugin::Layout& layout, const std::vector<uint32_t>& pages)
    : layout_(layout), shape_(layout) {
  shape_.bytes(pages);
  for (size_t g = 0; g < pages.size(); ++g) {
    groups_.emplace_back(pages[g] * shape_.page_bytes(static_cast<uint32_t>(g)));
  }
}

void Cache::page_read(uint32_t group, uint32_t number, void* data) {
  std::memcpy(data, page(group, number), shape_.page_bytes(group));
}

void Cache::page_write(uint32_t group, uint32_t number, const void* data) {
  std::memcpy(page(group, number), data, shape_.page_bytes(group));
}

void Cache::page_copy(uint32_t group, uint32_t from, uint32_t to) {
  std::memcpy(page(group, to), page(group, from), shape_.page_bytes(group));
}

namespace {

// Position p of a block of [key_dim, 32] keys and [32, value_dim] values.
template <typename T>
void put(T* block, uint32_t p, const T* key, uint32_t key_dim) {
  for (uint32_t d = 0; d < key_dim; ++d) block[d * kKeyBlock + p] = key[d];
}

}  // namespace

void Cache::append(const Kernels& kernels, uint32_t number, uint32_t page_number, uint32_t position_in_page,
                   const float* key, const float* value, uint16_t* half) const {
  const facet_cache_layer& layer = layout_.layers[number];
  std::byte* head = page(layer.group, page_number) + shape_.layer_offset(number);
  const size_t block_elements = size_t{kKeyBlock} * (layer.key_dim + layer.value_dim);
  const size_t block = position_in_page / kKeyBlock * block_elements;
  const uint32_t p = position_in_page % kKeyBlock;
  const size_t value_at = block + size_t{kKeyBlock} * layer.key_dim + size_t{p} * layer.value_dim;
  for (uint32_t h = 0; h < layer.kv_heads; ++h, head += shape_.head_bytes(number)) {
    if (layout_.type == FACET_TYPE_F16) {
      auto* elements = reinterpret_cast<uint16_t*>(head);
      kernels.to_half(key, layer.key_dim, half);
      put(elements + block, p, half, layer.key_dim);
      kernels.to_half(value, layer.value_dim, elements + value_at);
    } else {
      auto* elements = reinterpret_cast<float*>(head);
      put(elements + block, p, key, layer.key_dim);
      std::memcpy(elements + value_at, value, layer.value_dim * sizeof(float));
    }
    key += layer.key_dim;
    value += layer.value_dim;
  }
}

}  // namespace facet::cpu
