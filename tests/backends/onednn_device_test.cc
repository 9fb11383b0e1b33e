// What the CPU backend's device does about the CPUs it may use.
#include "backends/onednn/device.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <future>
#include <vector>

#include "backends/onednn/cpu_kinds.h"
#include "backends/onednn/cpu_limits.h"

using namespace facet::cpu;

namespace {

// Returns what `task` does on the device's thread.
template <typename Task>
auto on_thread(Device& device, Task task) {
  std::promise<decltype(task())> result;
  device.enqueue([&] { result.set_value(task()); });
  return result.get_future().get();
}

// Runs tasks until so many workers are active, however long that takes; or as many as a quota feeds, where
// others may use it up.
void wait_for_active(Device& device, uint32_t workers) {
  const uint64_t fed = std::min<uint64_t>(workers, std::max<uint64_t>(read_quota().whole, 1));
  for (uint32_t active = 0; active < fed || active > workers;) {
    active = on_thread(device, [&] { return device.pool().active(); });
  }
}

}  // namespace

TEST_CASE("a device that chooses its threads follows the affinity of its thread, both ways") {
  Device device(0, Isa::kPortable, facet::plugin::Log());
  const uint32_t most = device.pool().workers();
  CHECK(most == Device::automatic_threads());
  const std::vector<uint32_t> all = on_thread(device, [] { return affinity(); });
  CHECK(all == big_cpus(affinity()));
  wait_for_active(device, most);
  on_thread(device, [&] { return keep_to({all.back()}), 0; });
  wait_for_active(device, 1);
  CHECK(device.pool().workers() == most);
  on_thread(device, [&] { return keep_to(all), 0; });
  wait_for_active(device, most);
}

TEST_CASE("a device that was told its threads has them all, wherever it may run") {
  Device device(5, Isa::kPortable, facet::plugin::Log());
  CHECK(device.pool().workers() == 5);
  CHECK(on_thread(device, [] { return affinity(); }) == affinity());
  CHECK(on_thread(device, [&] { return device.pool().active(); }) == 5);
}
