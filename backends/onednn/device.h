// The device: kernels of one instruction set, the worker pool, and one thread that runs slices in the order
// of their submission.
#pragma once

#include <facet/backend.hpp>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "backends/onednn/dense.h"
#include "backends/onednn/kernels.h"
#include "backends/onednn/niceness.h"
#include "backends/onednn/pool.h"

namespace facet::cpu {

class Device final : public plugin::Device {
 public:
  // threads: 0 for allowed_cpus().
  Device(uint32_t threads, Isa isa, plugin::Log log);
  // Everything made from it is gone.
  ~Device() override;

  const char* numerics() const override { return numerics_.c_str(); }
  bool caches(uint32_t) const override { return true; }
  void op_supported(const plugin::Description& description, uint32_t op) const override;
  std::unique_ptr<plugin::Program> create_program(plugin::Description description) override;
  uint64_t cache_bytes(const plugin::Layout& layout, const std::vector<uint32_t>& pages) const override;
  std::unique_ptr<plugin::Cache> create_cache(const plugin::Layout& layout,
                                              const std::vector<uint32_t>& pages) override;
  void set_nice(uint32_t nice) override { niceness_.set(nice); }

  const Kernels& kernels() const { return kernels_; }
  // oneDNN for float32 weights, or NULL. Used from within a task.
  Dense* dense() { return dense_.get(); }
  // Used from within a task.
  Pool& pool() { return pool_; }
  // Runs `task`, which does not throw, on the device's thread after all tasks before it.
  void enqueue(std::function<void()> task);

 private:
  void serve();

  Kernels kernels_;
  Niceness niceness_;
  Pool pool_;
  std::unique_ptr<Dense> dense_;
  std::string numerics_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace facet::cpu
