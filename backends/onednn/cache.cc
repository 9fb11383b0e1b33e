#include "backends/onednn/cache.h"

#include <cstring>
#include <limits>

namespace facet::cpu {

CacheShape::CacheShape(const plugin::Layout& layout) : page_bytes_(layout.groups.size()) {
  for (const facet_cache_layer& layer : layout.layers) {
    size_t positions = layout.groups[layer.group].page_positions;
    head_bytes_.push_back(positions / kKeyBlock * block_bytes(layout.type, layer.key_dim, layer.value_dim));
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

size_t block_bytes(uint32_t type, uint32_t key_dim, uint32_t value_dim) {
  return kKeyBlock * (facet_row_bytes(type, key_dim) + facet_row_bytes(type, value_dim));
}

namespace {

template <typename T>
void put(T* block, uint32_t p, const T* key, uint32_t key_dim, const T* value, uint32_t value_dim) {
  for (uint32_t d = 0; d < key_dim; ++d) block[d * kKeyBlock + p] = key[d];
  std::memcpy(block + size_t{kKeyBlock} * key_dim + size_t{p} * value_dim, value, value_dim * sizeof(T));
}

void put(Square* squares, uint32_t p, const facet_block_q8_0* key, uint32_t key_dim,
         const facet_block_q8_0* value, uint32_t value_dim) {
  for (uint32_t i = 0; i < key_dim / kBlock; ++i, ++key, ++squares) {
    for (uint32_t d = 0; d < kBlock; ++d) squares->quants[d][p] = key->qs[d];
    squares->scales[p] = key->d;
  }
  for (uint32_t i = 0; i < value_dim / kBlock; ++i, ++value, ++squares) {
    std::memcpy(squares->quants[p], value->qs, kBlock);
    squares->scales[p] = value->d;
  }
}

}  // namespace

void put_position(const Kernels& kernels, uint32_t type, std::byte* block, uint32_t p, const float* key,
                  uint32_t key_dim, const float* value, uint32_t value_dim, std::byte* room) {
  std::byte* value_room = room + facet_row_bytes(type, key_dim);
  switch (type) {
    case FACET_TYPE_F32:
      return put(reinterpret_cast<float*>(block), p, key, key_dim, value, value_dim);
    case FACET_TYPE_F16: {
      auto *k = reinterpret_cast<uint16_t*>(room), *v = reinterpret_cast<uint16_t*>(value_room);
      kernels.to_half(key, key_dim, k);
      kernels.to_half(value, value_dim, v);
      return put(reinterpret_cast<uint16_t*>(block), p, k, key_dim, v, value_dim);
    }
    case FACET_TYPE_Q8_0: {
      auto* k = reinterpret_cast<facet_block_q8_0*>(room);
      auto* v = reinterpret_cast<facet_block_q8_0*>(value_room);
      kernels.to_q8_0(key, key_dim, k);
      kernels.to_q8_0(value, value_dim, v);
      return put(reinterpret_cast<Square*>(block), p, k, key_dim, v, value_dim);
    }
  }
}

void Cache::append(const Kernels& kernels, uint32_t number, uint32_t page_number, uint32_t position_in_page,
                   const float* key, const float* value, std::byte* room) const {
  const facet_cache_layer& layer = layout_.layers[number];
  std::byte* block = page(layer.group, page_number) + shape_.layer_offset(number) +
                     position_in_page / kKeyBlock * block_bytes(layout_.type, layer.key_dim, layer.value_dim);
  for (uint32_t h = 0; h < layer.kv_heads; ++h, block += shape_.head_bytes(number)) {
    put_position(kernels, layout_.type, block, position_in_page % kKeyBlock, key, layer.key_dim, value,
                 layer.value_dim, room);
    key += layer.key_dim;
    value += layer.value_dim;
  }
}

}  // namespace facet::cpu
