#include "backends/onednn/context.h"

#include <chrono>
#include <cstring>
#include <memory>
#include <utility>

#include "backends/onednn/device.h"
#include "backends/onednn/run.h"

namespace facet::cpu {

Context::Context(Program& program, uint32_t max_rows, uint32_t max_selected)
    : program_(program), layout_(program.memory(max_rows, max_selected)), memory_(layout_.bytes) {}

Context::~Context() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return reached_ == submitted_; });
}

void Context::submit(uint64_t fence, plugin::Slice slice, plugin::Cache* cache) {
  auto shared = std::make_unique<plugin::Slice>(std::move(slice));
  program_.device().enqueue([this, fence, cache, slice = shared.get()] {
    std::unique_ptr<plugin::Slice> own(slice);
    std::exception_ptr failure;
    try {
      Run run(program_, layout_, memory_.data(), *own, static_cast<Cache*>(cache));
      program_.device().pool().run(run.jobs());
    } catch (...) {
      failure = std::current_exception();
    }
    finish(fence, failure);
  });
  static_cast<void>(shared.release());  // the task owns it now
  std::lock_guard lock(mutex_);
  submitted_ = fence;
}

void Context::finish(uint64_t fence, std::exception_ptr failure) {
  std::lock_guard lock(mutex_);
  reached_ = fence;
  if (failure) failure_ = failure;
  changed_.notify_all();  // under the lock: the context may be destroyed as soon as it is released
}

facet_status Context::wait(uint64_t fence, int64_t timeout_us) {
  std::unique_lock lock(mutex_);
  auto reached = [&] { return reached_ >= fence; };
  if (timeout_us < 0) {
    changed_.wait(lock, reached);
  } else if (!changed_.wait_for(lock, std::chrono::microseconds(timeout_us), reached)) {
    return FACET_TIMEOUT;
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  return FACET_OK;
}

void Context::output_read(uint32_t port, uint32_t first, uint32_t rows, float* data) {
  uint32_t value = program_.description().outputs[port].value;
  size_t row_bytes = program_.steps().slots[value].row_bytes;
  std::memcpy(data, memory_.data() + layout_.values.offsets[value] + first * row_bytes, rows * row_bytes);
}

}  // namespace facet::cpu
