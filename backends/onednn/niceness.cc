#include "backends/onednn/niceness.h"

#include <sys/resource.h>
#include <unistd.h>

#include <thread>

namespace facet::cpu {
namespace {

constexpr pid_t kThisThread = 0;

bool give(pid_t thread, int nice) {
  return setpriority(PRIO_PROCESS, static_cast<id_t>(thread), nice) == 0;
}

}  // namespace

Niceness::Niceness() : usual_(getpriority(PRIO_PROCESS, kThisThread)) {
  std::thread([this] { can_come_back_ = give(kThisThread, usual_ + 1) && give(kThisThread, usual_); }).join();
}

void Niceness::join() {
  std::lock_guard lock(mutex_);
  threads_.push_back(gettid());
  if (steps_ != 0) give(kThisThread, usual_ + static_cast<int>(steps_));
}

void Niceness::set(uint32_t steps) {
  if (!can_come_back_) return;
  std::lock_guard lock(mutex_);
  if (steps == steps_) return;
  steps_ = steps;
  for (const pid_t thread : threads_) give(thread, usual_ + static_cast<int>(steps));
}

}  // namespace facet::cpu
