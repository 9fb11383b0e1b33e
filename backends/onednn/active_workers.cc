#include "backends/onednn/active_workers.h"

#include <algorithm>

namespace facet::cpu {

uint32_t ActiveWorkers::at(Time now, const CpuShare& share) {
  if (throttled_ && share.throttled > *throttled_) {
    tries_ = 0;
    since_ = now;
  } else if (tries_ < workers_ && now - since_ >= kQuiet) {
    ++tries_;
    since_ = now;
  }
  throttled_ = share.throttled;
  const uint64_t fed = std::clamp<uint64_t>(share.whole, 1, workers_) + tries_;
  return static_cast<uint32_t>(std::clamp<uint64_t>(share.cpus, 1, std::min<uint64_t>(fed, workers_)));
}

}  // namespace facet::cpu
