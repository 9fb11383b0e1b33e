// Keys and values of earlier positions.
//
// A group is one block of memory, page after page. A page holds the group's layers in their order, a layer
// its KV heads, a head its blocks of 32 positions: keys [key_dim, 32], so that 32 scores are computed side by
// side, then values [32, value_dim]. In a Q8_0 cache both are squares (kernels.h), one per 32 elements.
#pragma once

#include <facet/backend.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backends/onednn/kernels.h"
#include "backends/onednn/memory.h"

namespace facet::cpu {

// Of a head's block of 32 positions.
size_t block_bytes(uint32_t type, uint32_t key_dim, uint32_t value_dim);

// Writes position p of a head's block. `room` holds a key and a value in the cache's type; aligned to 4.
void put_position(const Kernels& kernels, uint32_t type, std::byte* block, uint32_t p, const float* key,
                  uint32_t key_dim, const float* value, uint32_t value_dim, std::byte* room);

// Where things lie in the pages of a layout, in bytes.
class CacheShape {
 public:
  explicit CacheShape(const plugin::Layout& layout);

  size_t page_bytes(uint32_t group) const { return page_bytes_[group]; }
  size_t layer_offset(uint32_t layer) const { return layer_offsets_[layer]; }
  size_t head_bytes(uint32_t layer) const { return head_bytes_[layer]; }
  // FACET_TOO_LARGE if the bytes do not fit into an address.
  uint64_t bytes(const std::vector<uint32_t>& pages) const;

 private:
  std::vector<size_t> page_bytes_;                  // per group
  std::vector<size_t> layer_offsets_, head_bytes_;  // per layer
};

class Cache final : public plugin::Cache {
 public:
  Cache(const plugin::Layout& layout, const std::vector<uint32_t>& pages);

  uint64_t page_bytes(uint32_t group) const override { return shape_.page_bytes(group); }
  void page_read(uint32_t group, uint32_t page, void* data) override;
  void page_write(uint32_t group, uint32_t page, const void* data) override;
  void page_copy(uint32_t group, uint32_t from, uint32_t to) override;

  const plugin::Layout& layout() const { return layout_; }
  const CacheShape& shape() const { return shape_; }
  std::byte* page(uint32_t group, uint32_t page) const {
    return groups_[group].data() + page * shape_.page_bytes(group);
  }
  // Writes one position's key and value of a layer [kv_heads, dim]; `room` as put_position() has it.
  void append(const Kernels& kernels, uint32_t layer, uint32_t page, uint32_t position_in_page,
              const float* key, const float* value, std::byte* room) const;

 private:
  plugin::Layout layout_;
  CacheShape shape_;
  std::vector<Memory> groups_;
};

}  // namespace facet::cpu
