#include "plugins/host/backend.h"

#include <cstddef>
#include <cstring>

namespace facet::plugins {
namespace {

// Where a call writes its message.
facet_error empty_error() {
  facet_error error{};
  error.size = sizeof error;
  return error;
}

Error failed(const facet_backend* table, facet_status status, const facet_error& error) {
  std::string message(error.message, strnlen(error.message, sizeof error.message));
  if (message.empty()) message = facet_status_name(status);
  return {status, std::string(table->name) + ": " + message};
}

// Makes a call that ends with a facet_error* argument.
template <typename Function, typename... Arguments>
Result<void> call(const facet_backend* table, Function facet_backend::*function, Arguments... arguments) {
  facet_error error = empty_error();
  facet_status status = (table->*function)(arguments..., &error);
  if (status != FACET_OK) return failed(table, status, error);
  return {};
}

Result<void> check_pages(const facet_cache_layout& layout, std::span<const uint32_t> pages) {
  if (pages.size() == layout.group_count) return {};
  return Error{FACET_INVALID_ARGUMENT, std::to_string(pages.size()) + " page counts for " +
                                           std::to_string(layout.group_count) + " cache groups"};
}

}  // namespace

Result<uint64_t> Context::submit(const facet_submit& submit) {
  uint64_t fence = 0;
  FACET_CHECK(call(handle_.get_deleter().table, &facet_backend::submit, handle_.get(), &submit, &fence));
  return fence;
}

Result<void> Context::wait(uint64_t fence, int64_t timeout_us) {
  return call(handle_.get_deleter().table, &facet_backend::wait, handle_.get(), fence, timeout_us);
}

Result<void> Context::read_output(uint32_t port, uint32_t first, uint32_t rows, std::span<float> data) {
  return call(handle_.get_deleter().table, &facet_backend::output_read, handle_.get(), port, first, rows,
              data.data());
}

Result<uint64_t> Program::context_bytes(uint32_t max_rows, uint32_t max_selected) const {
  uint64_t bytes = 0;
  FACET_CHECK(call(handle_.get_deleter().table, &facet_backend::context_bytes, handle_.get(), max_rows,
                   max_selected, &bytes));
  return bytes;
}

Result<Context> Program::create_context(uint32_t max_rows, uint32_t max_selected) {
  const facet_backend* table = handle_.get_deleter().table;
  facet_context* made = nullptr;
  FACET_CHECK(call(table, &facet_backend::context_create, handle_.get(), max_rows, max_selected, &made));
  Context context;
  context.handle_ = {made, {table}};
  return context;
}

Result<bool> Program::pack(const std::string& path) {
  if (packed_bytes_ == 0) return false;
  const facet_backend* table = handle_.get_deleter().table;
  facet_error error = empty_error();
  const facet_status status = table->program_pack(handle_.get(), path.c_str(), &error);
  if (status == FACET_OK) return true;
  if (status == FACET_TIMEOUT) return false;
  return failed(table, status, error);
}

Result<void> Program::verify_packed(const std::string& path) const {
  const facet_backend* table = handle_.get_deleter().table;
  if (packed_bytes_ == 0 || table->size <= offsetof(facet_backend, program_verify_packed) ||
      table->program_verify_packed == nullptr) {
    return Error{FACET_UNSUPPORTED, std::string(table->name) + ": it packs no weights of this model"};
  }
  return call(table, &facet_backend::program_verify_packed, handle_.get(), path.c_str());
}

uint64_t Cache::page_bytes(uint32_t group) const {
  return handle_.get_deleter().table->cache_page_bytes(handle_.get(), group);
}

Result<void> Cache::read_page(uint32_t group, uint32_t page, std::span<std::byte> data) const {
  return call(handle_.get_deleter().table, &facet_backend::cache_page_read, handle_.get(), group, page,
              static_cast<void*>(data.data()), uint64_t{data.size()});
}

Result<void> Cache::write_page(uint32_t group, uint32_t page, std::span<const std::byte> data) {
  return call(handle_.get_deleter().table, &facet_backend::cache_page_write, handle_.get(), group, page,
              static_cast<const void*>(data.data()), uint64_t{data.size()});
}

Result<void> Cache::copy_page(uint32_t group, uint32_t from, uint32_t to) {
  return call(handle_.get_deleter().table, &facet_backend::cache_page_copy, handle_.get(), group, from, to);
}

std::string Device::backend_name() const {
  return handle_.get_deleter().table->name;
}

std::string Device::numerics() const {
  return handle_.get_deleter().table->device_numerics(handle_.get());
}

Result<void> Device::op_supported(const facet_program_desc& program, uint32_t op) const {
  return call(handle_.get_deleter().table, &facet_backend::op_supported, handle_.get(), &program, op);
}

Result<Program> Device::create_program(const facet_program_desc& desc) {
  const facet_backend* table = handle_.get_deleter().table;
  facet_program* made = nullptr;
  FACET_CHECK(call(table, &facet_backend::program_create, handle_.get(), &desc, &made));
  Program program;
  program.handle_ = {made, {table}};

  facet_program_info info{};
  info.size = sizeof info;
  facet_status status = table->program_describe(made, &info);
  if (status != FACET_OK) return failed(table, status, empty_error());
  program.cuts_ = {info.cuts, info.cut_count};
  program.private_bytes_ = info.private_bytes;
  const bool packs = table->size > offsetof(facet_backend, program_pack) && table->program_pack != nullptr;
  program.packed_bytes_ = packs ? info.packed_bytes : 0;
  return program;
}

Result<uint64_t> Device::cache_bytes(const facet_cache_layout& layout,
                                     std::span<const uint32_t> pages) const {
  FACET_CHECK(check_pages(layout, pages));
  uint64_t bytes = 0;
  FACET_CHECK(call(handle_.get_deleter().table, &facet_backend::cache_bytes, handle_.get(), &layout,
                   pages.data(), &bytes));
  return bytes;
}

Result<Cache> Device::create_cache(const facet_cache_layout& layout, std::span<const uint32_t> pages) {
  FACET_CHECK(check_pages(layout, pages));
  const facet_backend* table = handle_.get_deleter().table;
  facet_cache* made = nullptr;
  FACET_CHECK(call(table, &facet_backend::cache_create, handle_.get(), &layout, pages.data(), &made));
  Cache cache;
  cache.handle_ = {made, {table}};
  return cache;
}

void Device::set_nice(uint32_t nice) const {
  const facet_backend* table = handle_.get_deleter().table;
  const bool has_it =
      table->size > offsetof(facet_backend, device_set_nice) && table->device_set_nice != nullptr;
  if (has_it) table->device_set_nice(handle_.get(), nice);
}

Result<facet_device_info> Backend::describe(uint32_t device) const {
  facet_device_info info{};
  info.size = sizeof info;
  facet_status status = table_->device_describe(device, &info);
  if (status != FACET_OK) {
    return Error{status, name() + ": device " + std::to_string(device) + ": " + facet_status_name(status)};
  }
  return info;
}

Result<Device> Backend::open(uint32_t index, uint32_t threads) const {
  facet_device_options options{};
  options.size = sizeof options;
  options.threads = threads;
  facet_device* opened = nullptr;
  FACET_CHECK(call(table_, &facet_backend::device_open, index, &options, &opened));
  Device device;
  device.handle_ = {opened, {table_}};
  return device;
}

}  // namespace facet::plugins
