// Plugins that are wrong in one way each, chosen by FACET_BROKEN_*: what the host must refuse by name. And
// one that is right but older: its table ends before the functions that a plugin need not have.
#include <facet/backend.hpp>

#include <cstdlib>

#define FACET_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

struct NoDevice {
#ifdef FACET_BROKEN_NAME
  static constexpr const char* kName = "somebody-else";
#else
  static constexpr const char* kName = FACET_BROKEN_FILE;
#endif
  static constexpr const char* kVersion = "1";
  static uint32_t device_count() {
    return 0;
  }
  static facet_device_info describe(uint32_t) {
    return {};
  }
  static std::unique_ptr<facet::plugin::Device> open(uint32_t, const facet_device_options&,
                                                     facet::plugin::Log) {
    throw std::runtime_error("opened without a device");
  }
};

[[maybe_unused]] const facet_backend* good(const facet_host* host) {
  return facet::plugin::detail::Table<NoDevice>::entry(host, 1, FACET_ABI_VERSION);
}

}  // namespace

#if defined(FACET_BROKEN_SYMBOL)
FACET_EXPORT int facet_other_symbol() {
  return good(nullptr) != nullptr;
}
#elif defined(FACET_BROKEN_NULL)
FACET_EXPORT const facet_backend* facet_backend_entry(const facet_host*, uint32_t, uint32_t) {
  return nullptr;
}
#else
FACET_EXPORT const facet_backend* facet_backend_entry(const facet_host* host, uint32_t, uint32_t) {
  static facet_backend table = *good(host);
#if defined(FACET_BROKEN_VERSION)
  table.abi_version = FACET_ABI_VERSION + 1;
#elif defined(FACET_BROKEN_ZERO)
  table.abi_version = 0;
#elif defined(FACET_BROKEN_FUNCTION)
  table.cache_page_copy = nullptr;
#elif defined(FACET_BROKEN_SIZE)
  table.size = offsetof(facet_backend, wait);
#elif defined(FACET_BROKEN_OLDER)
  table.size = offsetof(facet_backend, device_set_nice);
  table.device_set_nice = [](facet_device*, uint32_t) { std::abort(); };  // not its to call
  table.device_open = [](uint32_t, const facet_device_options*, facet_device** device, facet_error*) {
    *device = reinterpret_cast<facet_device*>(&table);
    return FACET_OK;
  };
  table.device_close = [](facet_device*) {};
#endif
  return &table;
}
#endif
