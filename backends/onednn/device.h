// The device: kernels of one instruction set, the worker pool, and one thread that runs slices in the order
// of their submission. Between slices that thread looks at what the process may use and sets how many workers
// are active.
#pragma once

#include <facet/backend.hpp>

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backends/onednn/active_workers.h"
#include "backends/onednn/dense.h"
#include "backends/onednn/kernels.h"
#include "backends/onednn/niceness.h"
#include "backends/onednn/pool.h"

namespace facet::cpu {

class Device final : public plugin::Device {
 public:
  // threads: how many workers there are; all are active but while the process is throttled. 0: as many as
  // automatic_threads() says, kept to the big CPUs if there are little ones, and fewer active while affinity
  // or quota allow less than at first.
  Device(uint32_t threads, Isa isa, plugin::Log log);
  // As many as there are big CPUs in the affinity, or as the quota allows.
  static uint32_t automatic_threads();
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
  void join();
  void serve();
  void follow_limits();

  Kernels kernels_;
  Niceness niceness_;
  const bool automatic_;
  std::vector<uint32_t> kept_to_;  // CPUs of all threads; empty: any
  Pool pool_;
  ActiveWorkers active_;
  ActiveWorkers::Time next_look_;
  std::unique_ptr<Dense> dense_;
  std::string numerics_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses all the others
};

}  // namespace facet::cpu
