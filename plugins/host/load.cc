#include <dlfcn.h>

#include <algorithm>
#include <cstddef>

#include "daemon/base/log.h"
#include "plugins/host/backend.h"
#include "plugins/host/discovery.h"

namespace facet::plugins {
namespace {

void write_log(const facet_host*, facet_log_level level, const char* message) {
  switch (level) {
    case FACET_LOG_DEBUG:
      return log::debug(message);
    case FACET_LOG_INFO:
      return log::info(message);
    case FACET_LOG_WARNING:
      return log::warning(message);
    case FACET_LOG_ERROR:
      return log::error(message);
  }
}

// A table of before the optional functions, which the ABI has at its end.
constexpr size_t kLeastTable = offsetof(facet_backend, device_set_nice);

constexpr facet_host kHost = {.size = sizeof(facet_host), .log = write_log};

// The name of a function of the table that is missing, or null.
const char* missing_function(const facet_backend& table) {
#define FACET_REQUIRE(function) \
  if (table.function == nullptr) return #function
  FACET_REQUIRE(device_count);
  FACET_REQUIRE(device_describe);
  FACET_REQUIRE(device_open);
  FACET_REQUIRE(device_close);
  FACET_REQUIRE(device_numerics);
  FACET_REQUIRE(op_supported);
  FACET_REQUIRE(program_create);
  FACET_REQUIRE(program_destroy);
  FACET_REQUIRE(program_describe);
  FACET_REQUIRE(cache_bytes);
  FACET_REQUIRE(cache_create);
  FACET_REQUIRE(cache_destroy);
  FACET_REQUIRE(cache_page_bytes);
  FACET_REQUIRE(cache_page_read);
  FACET_REQUIRE(cache_page_write);
  FACET_REQUIRE(cache_page_copy);
  FACET_REQUIRE(context_bytes);
  FACET_REQUIRE(context_create);
  FACET_REQUIRE(context_destroy);
  FACET_REQUIRE(submit);
  FACET_REQUIRE(wait);
  FACET_REQUIRE(output_read);
#undef FACET_REQUIRE
  return nullptr;
}

Result<void> check_table(const facet_backend* table, const std::string& name, const std::string& path) {
  auto malformed = [&](const std::string& reason) { return Error{FACET_MALFORMED, path + ": " + reason}; };
  if (table == nullptr) {
    return Error{FACET_VERSION_MISMATCH, path + ": it speaks no version of the plugin ABI from 1 to " +
                                             std::to_string(FACET_ABI_VERSION)};
  }
  if (table->size < kLeastTable) {
    return malformed("its table has " + std::to_string(table->size) + " bytes, fewer than " +
                     std::to_string(kLeastTable));
  }
  if (table->abi_version == 0 || table->abi_version > FACET_ABI_VERSION) {
    return Error{FACET_VERSION_MISMATCH, path + ": it chose version " + std::to_string(table->abi_version) +
                                             " of the plugin ABI, which was not offered"};
  }
  if (table->name == nullptr || table->version == nullptr)
    return malformed("its table has no name or version");
  if (name != table->name) return malformed(std::string("it calls itself '") + table->name + "'");
  if (const char* function = missing_function(*table)) {
    return malformed(std::string("its table has no ") + function);
  }
  return {};
}

}  // namespace

Result<Backend> Backend::load(const std::string& path) {
  const std::string name = backend_name_of(path);
  if (name.empty()) return Error{FACET_INVALID_ARGUMENT, path + ": is not called facet-backend-NAME.so"};
  // Never unloaded: a plugin's threads, and the destructors of its thread-local variables, may outlive its
  // last device.
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    std::string reason = dlerror();
    return Error{FACET_MALFORMED, reason.starts_with(path) ? reason : path + ": " + reason};
  }
  auto entry = reinterpret_cast<facet_backend_entry_fn>(dlsym(library, FACET_BACKEND_ENTRY));
  if (entry == nullptr) {
    return Error{FACET_MALFORMED, path + ": it exports no " + std::string(FACET_BACKEND_ENTRY)};
  }
  const facet_backend* table = entry(&kHost, 1, FACET_ABI_VERSION);
  FACET_CHECK(check_table(table, name, path));
  return Backend(path, table);
}

}  // namespace facet::plugins
