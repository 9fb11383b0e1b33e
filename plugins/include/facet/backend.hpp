// What the author of a backend writes: five classes and one line.
//
//   struct Mine {                                      // the backend
//     static constexpr const char* kName = "mine";     // as in facet-backend-mine.so
//     static constexpr const char* kVersion = "1.0";
//     static uint32_t device_count();
//     static facet_device_info describe(uint32_t index);
//     static std::unique_ptr<facet::plugin::Device> open(uint32_t index, const facet_device_options& options,
//                                                        facet::plugin::Log log);
//   };
//   FACET_BACKEND(Mine)
//
// Device, Program, Cache and Context below are base classes. This header makes the C table of them, and does
// once for all backends what the ABI asks of each: it copies structs by their sizes, checks every argument
// (whole programs and submits with facet/verify.hpp and verify_submit.hpp), keeps the order of cuts, counts
// fences, and turns exceptions into a status and a message: Failure into its own, std::bad_alloc into
// FACET_EXHAUSTED, anything else into FACET_INTERNAL. So an author's function sees valid arguments only, and
// fails by throwing.
//
// Lifetimes and threads are those of facet/backend.h. Header-only; depends on the ABI and the standard
// library.
#ifndef FACET_BACKEND_HPP_
#define FACET_BACKEND_HPP_

#include <facet/backend.h>
#include <facet/description.hpp>
#include <facet/verify_submit.hpp>

#include <functional>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

namespace facet::plugin {

// The host's log. May be called from any thread.
class Log {
 public:
  explicit Log(const facet_host* host = nullptr) : host_(host) {}
  void operator()(facet_log_level level, const std::string& message) const {
    if (host_ != nullptr && host_->log != nullptr) host_->log(host_, level, message.c_str());
  }

 private:
  const facet_host* host_;
};

class Cache {
 public:
  virtual ~Cache() = default;
  virtual uint64_t page_bytes(uint32_t group) const = 0;
  // `data` has page_bytes(group) bytes.
  virtual void page_read(uint32_t group, uint32_t page, void* data) = 0;
  virtual void page_write(uint32_t group, uint32_t page, const void* data) = 0;
  virtual void page_copy(uint32_t group, uint32_t from, uint32_t to) = 0;
};

class Context {
 public:
  // Waits for what is in flight.
  virtual ~Context() = default;
  // Queues (or runs) ops [cuts[slice.first_cut], cuts[slice.last_cut]). Fences count 1, 2, 3, ... A slice
  // with first_cut 0 opens a run, also when the last run was left unfinished; inputs come with that slice
  // only and must be kept as long as ops read them. `cache` is null if the program uses none.
  virtual void submit(uint64_t fence, Slice slice, Cache* cache) = 0;
  // FACET_OK or FACET_TIMEOUT; `fence` was submitted. timeout_us < 0: without end.
  virtual facet_status wait(uint64_t fence, int64_t timeout_us) = 0;
  // Rows [first, first + rows) of an output of the last run, all of it done: float32 [rows, width].
  virtual void output_read(uint32_t port, uint32_t first, uint32_t rows, float* data) = 0;
};

class Program {
 public:
  virtual ~Program() = default;
  // Ascending op numbers, from 0 to the number of ops. The same in every call.
  virtual std::vector<uint32_t> cuts() const = 0;
  virtual uint64_t private_bytes() const = 0;
  // Both within 1 .. kMaxRows (selected: from 0).
  virtual uint64_t context_bytes(uint32_t max_rows, uint32_t max_selected) const = 0;
  // Of a copy of the weights that pack() makes, 0 if it makes none. The same in every call.
  virtual uint64_t packed_bytes() const { return 0; }
  // One step towards the copy in the file `path`; true once runs read it. Called serially, while runs go on.
  virtual bool pack(const std::string&) { throw Failure(FACET_UNSUPPORTED, "it packs no weights"); }
  // Throws a Failure unless the file `path` is a whole copy. Called from any thread, also beside pack().
  virtual void verify_packed(const std::string&) const {
    throw Failure(FACET_UNSUPPORTED, "it packs no weights");
  }
  virtual std::unique_ptr<Context> create_context(uint32_t max_rows, uint32_t max_selected) = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual const char* numerics() const = 0;
  // Throws Failure(FACET_UNSUPPORTED, ...) if this device lacks the op. Only op number `op` has been
  // verified.
  virtual void op_supported(const Description&, uint32_t) const {}
  // Whether its caches keep keys and values in a type that the ABI allows; the author's helper refuses others
  // by name.
  virtual bool caches(uint32_t type) const { return type == FACET_TYPE_F32 || type == FACET_TYPE_F16; }
  // `description` has passed verify().
  virtual std::unique_ptr<Program> create_program(Description description) = 0;
  // pages[g] pages in group g. `layout` has passed verify().
  virtual uint64_t cache_bytes(const Layout& layout, const std::vector<uint32_t>& pages) const = 0;
  virtual std::unique_ptr<Cache> create_cache(const Layout& layout, const std::vector<uint32_t>& pages) = 0;
  // At most FACET_MOST_NICE. Called from any thread, while slices run.
  virtual void set_nice(uint32_t) {}
};

namespace detail {

inline void set_error(facet_error* error, const std::string& message) noexcept {
  constexpr size_t kHead = offsetof(facet_error, message);
  if (error == nullptr || error->size <= kHead) return;
  size_t room = std::min(error->size, sizeof(facet_error)) - kHead;
  size_t length = std::min(message.size(), room - 1);
  while (length > 0 && length < message.size() && (message[length] & 0xc0) == 0x80) --length;  // whole UTF-8
  std::memcpy(error->message, message.data(), length);
  error->message[length] = '\0';
}

// Runs `call`, which returns nothing or a facet_status; nothing is thrown from here.
template <typename Call>
facet_status guard(facet_error* error, const Call& call) noexcept {
  try {
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      return FACET_OK;
    } else {
      return call();
    }
  } catch (const Failure& failure) {
    set_error(error, failure.message());
    return failure.status() == FACET_OK ? FACET_INTERNAL : failure.status();
  } catch (const std::bad_alloc&) {
    set_error(error, "out of memory");
    return FACET_EXHAUSTED;
  } catch (const std::exception& exception) {
    set_error(error, exception.what());
  } catch (...) {
    set_error(error, "an exception of unknown type");
  }
  return FACET_INTERNAL;
}

inline void demand(const Fault& fault) {
  if (fault) invalid(*fault);
}

template <typename T>
T& given(T* pointer, const char* what) {
  if (pointer == nullptr) invalid(std::string(what) + " is NULL");
  return *pointer;
}

}  // namespace detail
}  // namespace facet::plugin

// The handles of the ABI: the author's object, and what its calls are checked against.
struct facet_device {
  std::unique_ptr<facet::plugin::Device> device;
};

struct facet_program {
  facet::plugin::Description shape;  // without the author's copy of it
  std::unique_ptr<facet::plugin::Program> program;
  std::vector<uint32_t> cuts;
};

struct facet_cache {
  facet::plugin::Layout layout;
  std::vector<uint32_t> pages;
  std::unique_ptr<facet::plugin::Cache> cache;

  void check(uint32_t group, uint32_t page) const {
    if (group >= pages.size()) facet::plugin::invalid("there is no cache group " + std::to_string(group));
    if (page >= pages[group]) {
      facet::plugin::invalid("there is no page " + std::to_string(page) + " in cache group " +
                             std::to_string(group));
    }
  }
  void check_bytes(uint32_t group, uint64_t bytes) const {
    if (bytes != cache->page_bytes(group)) {
      facet::plugin::invalid("a page of cache group " + std::to_string(group) + " has " +
                             std::to_string(cache->page_bytes(group)) + " bytes, not " +
                             std::to_string(bytes));
    }
  }
};

struct facet_context {
  const facet_program* program;
  facet::plugin::RunRules rules;
  std::unique_ptr<facet::plugin::Context> context;
  uint64_t last_fence = 0;
  uint32_t next_cut = 0;  // of the run that is open; 0: none is
  uint32_t rows = 0, selected = 0;

  void check_order(const facet::plugin::Slice& slice) const {
    if (slice.first_cut == 0) return;
    if (slice.first_cut != next_cut) {
      facet::plugin::invalid("a slice from cut " + std::to_string(slice.first_cut) +
                             " where the run stands at cut " + std::to_string(next_cut));
    }
    if (slice.rows.count != rows || slice.rows.selected_count != selected) {
      facet::plugin::invalid("the rows changed within a run");
    }
  }
};

namespace facet::plugin::detail {

// The functions of the table that need no more than the handles.
struct Calls {
  static void device_close(facet_device* device) { delete device; }

  static const char* device_numerics(facet_device* device) { return device->device->numerics(); }

  static facet_status op_supported(facet_device* device, const facet_program_desc* program, uint32_t op,
                                   facet_error* error) {
    return guard(error, [&] {
      Description description(given(program, "the program"));
      if (op >= description.ops.size()) invalid("there is no op " + std::to_string(op));
      if (description.has_cache) check_layout(description.cache);
      OpCheck(description, op).run();
      given(device, "the device").device->op_supported(description, op);
    });
  }

  static facet_status program_create(facet_device* device, const facet_program_desc* desc,
                                     facet_program** program, facet_error* error) {
    return guard(error, [&] {
      given(program, "the place for the program");
      Description shape(given(desc, "the program"));
      demand(verify(shape));
      const facet_device& owner = given(device, "the device");
      if (shape.has_cache) demand_cache(owner, shape.cache);
      auto made = owner.device->create_program(Description(*desc));
      auto cuts = made->cuts();
      if (cuts.size() < 2 || cuts.front() != 0 || cuts.back() != shape.ops.size() ||
          std::adjacent_find(cuts.begin(), cuts.end(), std::greater_equal<>()) != cuts.end()) {
        throw Failure(FACET_INTERNAL, "the backend's cuts are not ascending from 0 to the number of ops");
      }
      *program = new facet_program{std::move(shape), std::move(made), std::move(cuts)};
    });
  }

  static void program_destroy(facet_program* program) { delete program; }

  static facet_status program_describe(facet_program* program, facet_program_info* info) {
    return guard(nullptr, [&] {
      facet_program_info all{};
      all.cut_count = static_cast<uint32_t>(given(program, "the program").cuts.size());
      all.cuts = program->cuts.data();
      all.private_bytes = program->program->private_bytes();
      all.packed_bytes = program->program->packed_bytes();
      write(all, &given(info, "the info"));
    });
  }

  static facet_status program_pack(facet_program* program, const char* path, facet_error* error) {
    return guard(error, [&] {
      given(path, "the path");
      return given(program, "the program").program->pack(path) ? FACET_OK : FACET_TIMEOUT;
    });
  }

  static facet_status program_verify_packed(facet_program* program, const char* path, facet_error* error) {
    return guard(error, [&] {
      given(path, "the path");
      given(program, "the program").program->verify_packed(path);
    });
  }

  static void demand_cache(const facet_device& device, const Layout& layout) {
    if (device.device->caches(layout.type)) return;
    throw Failure(FACET_UNSUPPORTED, std::string("a cache of ") + facet_type_name(layout.type));
  }

  static std::vector<uint32_t> page_counts(const facet_device& device, const Layout& layout,
                                           const uint32_t* pages) {
    demand(verify(layout));
    demand_cache(device, layout);
    const uint32_t* first = &given(pages, "the list of page counts");
    return {first, first + layout.groups.size()};
  }

  static facet_status cache_bytes(facet_device* device, const facet_cache_layout* layout,
                                  const uint32_t* pages, uint64_t* bytes, facet_error* error) {
    return guard(error, [&] {
      Layout copy(given(layout, "the cache layout"));
      const facet_device& owner = given(device, "the device");
      given(bytes, "the place for the bytes") =
          owner.device->cache_bytes(copy, page_counts(owner, copy, pages));
    });
  }

  static facet_status cache_create(facet_device* device, const facet_cache_layout* layout,
                                   const uint32_t* pages, facet_cache** cache, facet_error* error) {
    return guard(error, [&] {
      given(cache, "the place for the cache");
      Layout copy(given(layout, "the cache layout"));
      const facet_device& owner = given(device, "the device");
      auto counts = page_counts(owner, copy, pages);
      auto made = owner.device->create_cache(copy, counts);
      *cache = new facet_cache{std::move(copy), std::move(counts), std::move(made)};
    });
  }

  static void cache_destroy(facet_cache* cache) { delete cache; }

  static uint64_t cache_page_bytes(facet_cache* cache, uint32_t group) {
    return group < cache->pages.size() ? cache->cache->page_bytes(group) : 0;
  }

  static facet_status cache_page_read(facet_cache* cache, uint32_t group, uint32_t page, void* data,
                                      uint64_t bytes, facet_error* error) {
    return guard(error, [&] {
      given(cache, "the cache").check(group, page);
      cache->check_bytes(group, bytes);
      if (data == nullptr) invalid("the page's data is NULL");
      cache->cache->page_read(group, page, data);
    });
  }

  static facet_status cache_page_write(facet_cache* cache, uint32_t group, uint32_t page, const void* data,
                                       uint64_t bytes, facet_error* error) {
    return guard(error, [&] {
      given(cache, "the cache").check(group, page);
      cache->check_bytes(group, bytes);
      if (data == nullptr) invalid("the page's data is NULL");
      cache->cache->page_write(group, page, data);
    });
  }

  static facet_status cache_page_copy(facet_cache* cache, uint32_t group, uint32_t from, uint32_t to,
                                      facet_error* error) {
    return guard(error, [&] {
      given(cache, "the cache").check(group, from);
      cache->check(group, to);
      if (from != to) cache->cache->page_copy(group, from, to);
    });
  }

  static void check_rows(uint32_t max_rows, uint32_t max_selected) {
    if (max_rows == 0 || max_rows > kMaxRows || max_selected > max_rows) {
      invalid("a context of " + std::to_string(max_rows) + " rows and " + std::to_string(max_selected) +
              " selected rows");
    }
  }

  static facet_status context_bytes(facet_program* program, uint32_t max_rows, uint32_t max_selected,
                                    uint64_t* bytes, facet_error* error) {
    return guard(error, [&] {
      check_rows(max_rows, max_selected);
      given(bytes, "the place for the bytes") =
          given(program, "the program").program->context_bytes(max_rows, max_selected);
    });
  }

  static facet_status context_create(facet_program* program, uint32_t max_rows, uint32_t max_selected,
                                     facet_context** context, facet_error* error) {
    return guard(error, [&] {
      given(context, "the place for the context");
      check_rows(max_rows, max_selected);
      const auto cut_count = static_cast<uint32_t>(given(program, "the program").cuts.size());
      RunRules rules(program->shape, cut_count, max_rows, max_selected);
      auto made = program->program->create_context(max_rows, max_selected);
      *context = new facet_context{program, std::move(rules), std::move(made)};
    });
  }

  static void context_destroy(facet_context* context) { delete context; }

  static facet_status submit(facet_context* context, const facet_submit* submit, uint64_t* fence,
                             facet_error* error) {
    return guard(error, [&] {
      const RunRules& rules = given(context, "the context").rules;
      given(fence, "the place for the fence");
      Slice slice(given(submit, "the submit"), rules.groups());
      facet_cache* cache = rules.has_cache ? slice.cache : nullptr;
      if (cache != nullptr && !(cache->layout == context->program->shape.cache)) {
        invalid("the cache has another layout than the program");
      }
      demand(verify(slice, rules, cache != nullptr ? cache->pages : std::vector<uint32_t>()));
      context->check_order(slice);

      const uint32_t last_cut = slice.last_cut, count = slice.rows.count,
                     selected = slice.rows.selected_count;
      context->next_cut = 0;
      context->context->submit(context->last_fence + 1, std::move(slice),
                               cache ? cache->cache.get() : nullptr);
      *fence = ++context->last_fence;
      context->next_cut = last_cut;
      context->rows = count;
      context->selected = selected;
    });
  }

  static facet_status wait(facet_context* context, uint64_t fence, int64_t timeout_us, facet_error* error) {
    return guard(error, [&] {
      if (fence == 0 || fence > given(context, "the context").last_fence) {
        invalid("there is no fence " + std::to_string(fence));
      }
      return context->context->wait(fence, timeout_us);
    });
  }

  static facet_status output_read(facet_context* context, uint32_t port, uint32_t first, uint32_t rows,
                                  float* data, facet_error* error) {
    return guard(error, [&] {
      const Description& shape = given(context, "the context").program->shape;
      if (port >= shape.outputs.size()) invalid("there is no output " + std::to_string(port));
      if (context->next_cut + 1 != context->rules.cut_count) invalid("the run is not complete");
      const bool batch = shape.values[shape.outputs[port].value].rows == FACET_ROWS_BATCH;
      const uint32_t available = batch ? context->rows : context->selected;
      if (uint64_t{first} + rows > available) {
        invalid("rows " + std::to_string(first) + " to " + std::to_string(uint64_t{first} + rows) +
                " of output " + std::to_string(port) + ", which has " + std::to_string(available));
      }
      if (rows == 0) return;
      given(data, "the data");
      context->context->output_read(port, first, rows, data);
    });
  }

  static void device_set_nice(facet_device* device, uint32_t nice) {
    guard(nullptr, [&] { given(device, "the device").device->set_nice(std::min(nice, FACET_MOST_NICE)); });
  }
};

template <typename Backend>
struct Table {
  static inline const facet_host* host = nullptr;  // set by the entry, before any other call

  static facet_status device_describe(uint32_t index, facet_device_info* info) {
    return guard(nullptr, [&] {
      if (index >= Backend::device_count()) return FACET_NOT_FOUND;
      write(Backend::describe(index), &given(info, "the info"));
      return FACET_OK;
    });
  }

  static facet_status device_open(uint32_t index, const facet_device_options* options, facet_device** device,
                                  facet_error* error) {
    return guard(error, [&] {
      given(device, "the place for the device");
      if (index >= Backend::device_count()) {
        throw Failure(FACET_NOT_FOUND, "there is no device " + std::to_string(index));
      }
      auto made = Backend::open(index, read(given(options, "the options")), Log(host));
      *device = new facet_device{std::move(made)};
    });
  }

  static const facet_backend* entry(const facet_host* from, uint32_t abi_min, uint32_t abi_max) noexcept {
    if (abi_min > FACET_ABI_VERSION || abi_max < FACET_ABI_VERSION) return nullptr;
    host = from;
    static const facet_backend table = {
        .size = sizeof(facet_backend),
        .abi_version = FACET_ABI_VERSION,
        .name = Backend::kName,
        .version = Backend::kVersion,
        .device_count = [] { return Backend::device_count(); },
        .device_describe = device_describe,
        .device_open = device_open,
        .device_close = Calls::device_close,
        .device_numerics = Calls::device_numerics,
        .op_supported = Calls::op_supported,
        .program_create = Calls::program_create,
        .program_destroy = Calls::program_destroy,
        .program_describe = Calls::program_describe,
        .cache_bytes = Calls::cache_bytes,
        .cache_create = Calls::cache_create,
        .cache_destroy = Calls::cache_destroy,
        .cache_page_bytes = Calls::cache_page_bytes,
        .cache_page_read = Calls::cache_page_read,
        .cache_page_write = Calls::cache_page_write,
        .cache_page_copy = Calls::cache_page_copy,
        .context_bytes = Calls::context_bytes,
        .context_create = Calls::context_create,
        .context_destroy = Calls::context_destroy,
        .submit = Calls::submit,
        .wait = Calls::wait,
        .output_read = Calls::output_read,
        .device_set_nice = Calls::device_set_nice,
        .program_pack = Calls::program_pack,
        .program_verify_packed = Calls::program_verify_packed,
    };
    return &table;
  }
};

}  // namespace facet::plugin::detail

// Once per plugin, at file scope: defines the symbol that the host looks for.
#define FACET_BACKEND(Backend)                                                                \
  extern "C" __attribute__((visibility("default"))) const facet_backend* facet_backend_entry( \
      const facet_host* host, uint32_t abi_min, uint32_t abi_max) {                           \
    return ::facet::plugin::detail::Table<Backend>::entry(host, abi_min, abi_max);            \
  }

#endif  // FACET_BACKEND_HPP_
