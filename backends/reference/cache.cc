#include "backends/reference/cache.h"

namespace facet::reference {
namespace {

// Bytes of one layer's part of a page.
uint64_t layer_bytes(const plugin::Layout& layout, const facet_cache_layer& layer) {
  return layer.kv_heads *
         (facet_row_bytes(layout.type, layer.key_dim) + facet_row_bytes(layout.type, layer.value_dim)) *
         layout.groups[layer.group].page_positions;
}

uint64_t group_bytes(uint64_t page_bytes, uint32_t pages) {
  uint64_t bytes = 0;
  if (__builtin_mul_overflow(page_bytes, uint64_t{pages}, &bytes) || bytes > PTRDIFF_MAX) {
    throw plugin::Failure(FACET_TOO_LARGE, std::to_string(pages) + " pages of " + std::to_string(page_bytes) +
                                               " bytes are beyond any memory");
  }
  return bytes;
}

std::vector<uint64_t> page_sizes(const plugin::Layout& layout) {
  std::vector<uint64_t> sizes(layout.groups.size());
  for (const facet_cache_layer& layer : layout.layers) sizes[layer.group] += layer_bytes(layout, layer);
  return sizes;
}

void encode(uint32_t type, const float* from, uint32_t width, std::byte* to) {
  if (type == FACET_TYPE_F32) std::memcpy(to, from, width * sizeof(float));
  if (type == FACET_TYPE_F16) {
    auto* halves = reinterpret_cast<uint16_t*>(to);
    for (uint32_t i = 0; i < width; ++i) halves[i] = facet_f32_to_f16(from[i]);
  }
  if (type == FACET_TYPE_Q8_0) {
    auto* blocks = reinterpret_cast<facet_block_q8_0*>(to);
    for (uint32_t i = 0; i < width / 32; ++i) facet_encode_q8_0(from + 32 * i, blocks + i);
  }
}

}  // namespace

PagedCache::PagedCache(const plugin::Layout& layout, const std::vector<uint32_t>& pages)
    : type_(layout.type) {
  const std::vector<uint64_t> sizes = page_sizes(layout);
  std::vector<uint64_t> used(sizes.size());
  for (const facet_cache_layer& layer : layout.layers) {
    layers_.push_back(
        {layer.group, layer.kv_heads * layer.key_dim, layer.kv_heads * layer.value_dim, used[layer.group]});
    used[layer.group] += layer_bytes(layout, layer);
  }
  for (size_t g = 0; g < sizes.size(); ++g) {
    // calloc: pages of the operating system that no position is written to stay untouched.
    const uint64_t bytes = group_bytes(sizes[g], pages[g]);
    auto* memory = static_cast<std::byte*>(std::calloc(std::max<uint64_t>(bytes, 1), 1));
    if (memory == nullptr) throw std::bad_alloc();
    groups_.push_back({layout.groups[g].page_positions, sizes[g], {memory, Free()}});
  }
}

uint64_t PagedCache::bytes(const plugin::Layout& layout, const std::vector<uint32_t>& pages) {
  const std::vector<uint64_t> sizes = page_sizes(layout);
  uint64_t total = 0;
  for (size_t g = 0; g < sizes.size(); ++g) total += group_bytes(sizes[g], pages[g]);
  return total;
}

void PagedCache::page_read(uint32_t group, uint32_t number, void* data) {
  std::memcpy(data, page(group, number), groups_[group].page_bytes);
}

void PagedCache::page_write(uint32_t group, uint32_t number, const void* data) {
  std::memcpy(page(group, number), data, groups_[group].page_bytes);
}

void PagedCache::page_copy(uint32_t group, uint32_t from, uint32_t to) {
  std::memcpy(page(group, to), page(group, from), groups_[group].page_bytes);
}

std::byte* PagedCache::key_row(const Layer& layer, const facet_page_table& table, int64_t position) const {
  const uint32_t size = groups_[layer.group].page_positions;
  const uint32_t number = table.pages[position / size - table.first_block];
  return page(layer.group, number) + layer.offset + position % size * facet_row_bytes(type_, layer.key_width);
}

std::byte* PagedCache::value_row(const Layer& layer, const facet_page_table& table, int64_t position) const {
  const uint32_t size = groups_[layer.group].page_positions;
  const uint32_t number = table.pages[position / size - table.first_block];
  return page(layer.group, number) + layer.offset + size * facet_row_bytes(type_, layer.key_width) +
         position % size * facet_row_bytes(type_, layer.value_width);
}

void PagedCache::write(uint32_t index, const facet_page_table& table, int64_t position, const float* key,
                       const float* value) {
  const Layer& layer = layers_[index];
  encode(type_, key, layer.key_width, key_row(layer, table, position));
  encode(type_, value, layer.value_width, value_row(layer, table, position));
}

void PagedCache::read(uint32_t index, const facet_page_table& table, int64_t position, float* key,
                      float* value) const {
  const Layer& layer = layers_[index];
  facet_decode_row(type_, key_row(layer, table, position), layer.key_width, key);
  facet_decode_row(type_, value_row(layer, table, position), layer.value_width, value);
}

}  // namespace facet::reference
