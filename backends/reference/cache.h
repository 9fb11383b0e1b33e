// The reference backend's cache: per group one block of memory, page after page. A page holds, layer after
// layer of its group, first the keys and then the values of its positions:
//   keys [page_positions, kv_heads, key_dim], values [page_positions, kv_heads, value_dim], in the layout's
//   type.
#pragma once

#include <cstdlib>
#include <facet/backend.hpp>
#include <memory>
#include <vector>

namespace facet::reference {

class PagedCache final : public plugin::Cache {
 public:
  // TOO_LARGE if the bytes overflow; std::bad_alloc.
  PagedCache(const plugin::Layout& layout, const std::vector<uint32_t>& pages);
  static uint64_t bytes(const plugin::Layout& layout, const std::vector<uint32_t>& pages);

  uint64_t page_bytes(uint32_t group) const override { return groups_[group].page_bytes; }
  void page_read(uint32_t group, uint32_t page, void* data) override;
  void page_write(uint32_t group, uint32_t page, const void* data) override;
  void page_copy(uint32_t group, uint32_t from, uint32_t to) override;

  // Key and value rows of one position of a layer, as float32: [kv_heads, key_dim] and [kv_heads, value_dim].
  // `table` is the sequence's in the layer's group and covers the position.
  void write(uint32_t layer, const facet_page_table& table, int64_t position, const float* key,
             const float* value);
  void read(uint32_t layer, const facet_page_table& table, int64_t position, float* key, float* value) const;

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };
  struct Group {
    uint32_t page_positions;
    uint64_t page_bytes;
    std::unique_ptr<std::byte, Free> memory;
  };
  struct Layer {
    uint32_t group;
    uint32_t key_width, value_width;  // elements per position
    uint64_t offset;                  // in bytes from the start of a page
  };

  std::byte* page(uint32_t group, uint32_t page) const {
    return groups_[group].memory.get() + page * groups_[group].page_bytes;
  }
  std::byte* key_row(const Layer& layer, const facet_page_table& table, int64_t position) const;
  std::byte* value_row(const Layer& layer, const facet_page_table& table, int64_t position) const;

  uint32_t type_;
  std::vector<Group> groups_;
  std::vector<Layer> layers_;
};

}  // namespace facet::reference
