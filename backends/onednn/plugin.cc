// The CPU backend: facet-backend-onednn.so.
#include <facet/backend.hpp>

#include <cstdlib>
#include <cstring>

#include "backends/onednn/device.h"
#include "backends/onednn/isa.h"

namespace facet::cpu {
namespace {

constexpr uint32_t kMaxThreads = 1024;

struct Backend {
  static constexpr const char* kName = "onednn";
  static constexpr const char* kVersion = FACET_VERSION;

  static uint32_t device_count() { return 1; }

  static facet_device_info describe(uint32_t) {
    facet_device_info info{};
    std::string description = cpu_name() + ", " + std::to_string(Device::automatic_threads()) + " threads";
    std::strncpy(info.name, "cpu", sizeof info.name - 1);
    std::strncpy(info.description, description.c_str(), sizeof info.description - 1);
    return info;
  }

  static std::unique_ptr<plugin::Device> open(uint32_t, const facet_device_options& options,
                                              plugin::Log log) {
    if (options.threads > kMaxThreads) {
      plugin::invalid(std::to_string(options.threads) + " threads are more than " +
                      std::to_string(kMaxThreads));
    }
    return std::make_unique<Device>(options.threads, choose_isa(std::getenv("FACET_ISA")), log);
  }
};

}  // namespace
}  // namespace facet::cpu

FACET_BACKEND(facet::cpu::Backend)
