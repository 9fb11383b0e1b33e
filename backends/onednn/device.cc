#include "backends/onednn/device.h"

#include <chrono>

#include "backends/onednn/cache.h"
#include "backends/onednn/cpu_kinds.h"
#include "backends/onednn/cpu_limits.h"
#include "backends/onednn/program.h"
#include "backends/onednn/self_check.h"

namespace facet::cpu {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(100);

// The big CPUs of the affinity, or none if that has no others.
std::vector<uint32_t> big_among_little() {
  const std::vector<uint32_t> all = affinity();
  std::vector<uint32_t> big = big_cpus(all);
  if (big.size() == all.size()) big.clear();
  return big;
}

Kernels checked_kernels(Isa isa, const plugin::Log& log) {
  Kernels kernels = kernels_of(isa);
  std::string fault = isa == Isa::kPortable ? "" : difference(kernels, kernels_of(Isa::kPortable));
  if (fault.empty()) return kernels;
  log(FACET_LOG_WARNING, std::string("the ") + isa_name(isa) +
                             " kernels give other results than the portable " + "ones (" + fault +
                             "); the portable ones are used, which are slow");
  return kernels_of(Isa::kPortable);
}

// The instruction sets below have no oneDNN implementation with equal rows.
std::unique_ptr<Dense> checked_dense(Isa isa, uint32_t workers) {
  if (isa != Isa::kAvx512Vnni) return nullptr;
  auto dense = std::make_unique<Dense>(workers);
  return dense->works() ? std::move(dense) : nullptr;
}

}  // namespace

Device::Device(uint32_t threads, Isa isa, plugin::Log log)
    : kernels_(checked_kernels(isa, log)),
      automatic_(threads == 0),
      kept_to_(automatic_ ? big_among_little() : std::vector<uint32_t>()),
      pool_(automatic_ ? automatic_threads() : threads, [this] { join(); }),
      active_(pool_.workers()),
      dense_(checked_dense(kernels_.isa, pool_.workers())),
      numerics_(dense_ == nullptr ? "cpu/2" : "cpu/2+" + Dense::name()),
      thread_([this] { serve(); }) {
  log(FACET_LOG_DEBUG, std::string("cpu: ") + isa_name(kernels_.isa) + " kernels, " +
                           std::to_string(pool_.workers()) + " threads" +
                           (niceness_.can_come_back() ? "" : ", which may not change their nice value"));
}

uint32_t Device::automatic_threads() {
  return within_quota(static_cast<uint32_t>(big_cpus(affinity()).size()));
}

Device::~Device() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void Device::op_supported(const plugin::Description& description, uint32_t op) const {
  const uint32_t kind = description.ops[op].kind;
  if (kind <= FACET_OP_CONCAT) return;
  throw plugin::Failure(FACET_UNSUPPORTED, std::string("op ") + plugin::op_name(kind));
}

std::unique_ptr<plugin::Program> Device::create_program(plugin::Description description) {
  for (uint32_t op = 0; op < description.ops.size(); ++op) op_supported(description, op);
  return std::make_unique<Program>(*this, std::move(description));
}

uint64_t Device::cache_bytes(const plugin::Layout& layout, const std::vector<uint32_t>& pages) const {
  return CacheShape(layout).bytes(pages);
}

std::unique_ptr<plugin::Cache> Device::create_cache(const plugin::Layout& layout,
                                                    const std::vector<uint32_t>& pages) {
  return std::make_unique<Cache>(layout, pages);
}

void Device::enqueue(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
}

void Device::join() {
  niceness_.join();
  if (!kept_to_.empty()) keep_to(kept_to_);
}

void Device::follow_limits() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_look_) return;
  next_look_ = now + kLookEvery;
  const Quota quota = read_quota();
  const auto allowed = static_cast<uint32_t>(affinity().size());
  const uint32_t cpus = automatic_ ? within_quota(allowed, quota) : pool_.workers();
  pool_.set_active(active_.at(now, {cpus, quota.whole, quota.throttled}));
}

void Device::serve() {
  join();
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return !tasks_.empty() || closing_; });
    if (tasks_.empty()) return;
    auto task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    follow_limits();
    task();
    lock.lock();
  }
}

}  // namespace facet::cpu
