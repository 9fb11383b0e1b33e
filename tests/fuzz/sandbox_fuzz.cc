// Any bytes as what the kernel shows of a process: four texts, each after a byte that says how many bytes it
// has times 16, 255: it is not there. What comes out is no sandbox or the name of one.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "daemon/broker/sandbox.h"

using namespace facet::broker;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = [&]() -> std::optional<std::string> {
    if (size == 0) return {};
    const uint8_t length = *data;
    ++data, --size;
    if (length == 255) return {};
    const size_t taken = std::min<size_t>(size, size_t{length} * 16);
    std::string bytes(reinterpret_cast<const char*>(data), taken);
    data += taken, size -= taken;
    return bytes;
  };
  SandboxTraces traces;
  traces.label = text();
  traces.flatpak_info = text();
  traces.cgroup = text();
  traces.status = text();
  for (const bool sees_root : {true, false}) {
    traces.sees_root = sees_root;
    const std::string name = sandbox_of(traces);
    if (!name.empty() && !is_sandbox(name)) std::abort();
    if (name.empty() && !traces.status) std::abort();
    if (name.empty() && sees_root && traces.flatpak_info) std::abort();
  }
  return 0;
}
