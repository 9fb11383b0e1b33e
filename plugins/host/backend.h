// A backend as the engine sees it: a thin C++ face over the table of <facet/backend.h>.
//
// Backend   a plugin that is loaded and passed its checks (plugins/host/discovery.h finds and loads them).
// Device, Program, Cache, Context   the ABI's objects, each owned by one value that destroys it.
//
// Lifetimes are the ABI's: a Device outlives its Programs and Caches, a Program its Contexts. All but Backend
// are move-only; moving one does not move the object behind it, so others stay valid. Plugins are never
// unloaded, so no object here depends on a Backend's lifetime. Threads: calls on one Context are serial;
// calls on one Device may come from several threads. An Error's message opens with the backend's name.
#pragma once

#include <facet/backend.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace facet::plugins {

// Calls the table's function for a handle that is no longer needed.
template <typename Handle, void (*facet_backend::*destroy)(Handle*)>
struct Destroy {
  const facet_backend* table = nullptr;
  void operator()(Handle* handle) const { (table->*destroy)(handle); }
};
template <typename Handle, void (*facet_backend::*destroy)(Handle*)>
using Owned = std::unique_ptr<Handle, Destroy<Handle, destroy>>;

class Context {
 public:
  // Queues a slice; what `submit` points to stays unchanged until the fence is reached. Returns the fence.
  Result<uint64_t> submit(const facet_submit& submit);
  // `timeout` if timeout_us microseconds pass first; negative: waits without end.
  Result<void> wait(uint64_t fence, int64_t timeout_us = -1);
  // Rows [first, first + rows) of an output of the last run, once it is done: [rows, width]. `data` holds
  // rows * width floats.
  Result<void> read_output(uint32_t port, uint32_t first, uint32_t rows, std::span<float> data);

 private:
  friend class Program;
  Owned<facet_context, &facet_backend::context_destroy> handle_;
};

class Program {
 public:
  // Where a run can stop: op numbers, from 0 to the number of ops.
  std::span<const uint32_t> cuts() const { return cuts_; }
  // Bytes of weights that were copied, into other layouts or onto the device.
  uint64_t private_bytes() const { return private_bytes_; }
  // Bytes of the file that pack() writes; 0: there is nothing to pack.
  uint64_t packed_bytes() const { return packed_bytes_; }

  // Bytes that such a context would take.
  Result<uint64_t> context_bytes(uint32_t max_rows, uint32_t max_selected) const;
  Result<Context> create_context(uint32_t max_rows, uint32_t max_selected);

  // One step, of some milliseconds, towards a copy of the weights in the file `path`, which runs read faster
  // and which the next program of these weights finds there. True once they do. Serial, from any thread; runs
  // go on meanwhile, and as before after an Error.
  Result<bool> pack(const std::string& path);
  // Reads the whole copy in the file `path`. An Error names it: FACET_MALFORMED if its content is not what
  // was written, FACET_NOT_FOUND if there is no copy of these weights; FACET_UNSUPPORTED if the backend has
  // none.
  Result<void> verify_packed(const std::string& path) const;

 private:
  friend class Device;
  Owned<facet_program, &facet_backend::program_destroy> handle_;
  std::span<const uint32_t> cuts_;  // the program's own
  uint64_t private_bytes_ = 0;
  uint64_t packed_bytes_ = 0;
};

class Cache {
 public:
  // Bytes of a page of that group, all its layers.
  uint64_t page_bytes(uint32_t group) const;
  // `data` has page_bytes(group) bytes.
  Result<void> read_page(uint32_t group, uint32_t page, std::span<std::byte> data) const;
  Result<void> write_page(uint32_t group, uint32_t page, std::span<const std::byte> data);
  Result<void> copy_page(uint32_t group, uint32_t from, uint32_t to);

  // For facet_submit.cache.
  facet_cache* handle() const { return handle_.get(); }

 private:
  friend class Device;
  Owned<facet_cache, &facet_backend::cache_destroy> handle_;
};

class Device {
 public:
  // "reference", and what its arithmetic is called: "reference/1".
  std::string backend_name() const;
  std::string numerics() const;

  // Unsupported, naming what is missing, if the device cannot run op number `op`.
  Result<void> op_supported(const facet_program_desc& program, uint32_t op) const;
  // The weights' data must outlive the program.
  Result<Program> create_program(const facet_program_desc& program);
  // pages[g] pages in group g of the layout; as many as it has groups.
  Result<uint64_t> cache_bytes(const facet_cache_layout& layout, std::span<const uint32_t> pages) const;
  Result<Cache> create_cache(const facet_cache_layout& layout, std::span<const uint32_t> pages);
  // How far its work stands back for other programs, 0 to FACET_MOST_NICE; at once. No effect on a device
  // that cannot.
  void set_nice(uint32_t nice) const;

 private:
  friend class Backend;
  Owned<facet_device, &facet_backend::device_close> handle_;
};

class Backend {
 public:
  // Checks the file's name, loads it and checks its table. The Error names the file and the reason:
  // not_found, version_mismatch, or malformed if it is no plugin or its table is incomplete.
  static Result<Backend> load(const std::string& path);

  std::string name() const { return table_->name; }
  std::string version() const { return table_->version; }
  const std::string& path() const { return path_; }
  const facet_backend& table() const { return *table_; }

  uint32_t device_count() const { return table_->device_count(); }
  Result<facet_device_info> describe(uint32_t device) const;
  // threads: 0 lets the backend choose.
  Result<Device> open(uint32_t device, uint32_t threads) const;

 private:
  Backend(std::string path, const facet_backend* table) : path_(std::move(path)), table_(table) {}
  std::string path_;
  const facet_backend* table_;  // the library's, which stays loaded
};

}  // namespace facet::plugins
