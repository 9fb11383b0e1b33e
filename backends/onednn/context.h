// A context: the memory of one run in flight, and the fences of its slices.
#pragma once

#include <facet/backend.hpp>

#include <condition_variable>
#include <exception>
#include <mutex>

#include "backends/onednn/memory.h"
#include "backends/onednn/program.h"

namespace facet::cpu {

class Context final : public plugin::Context {
 public:
  Context(Program& program, uint32_t max_rows, uint32_t max_selected);
  ~Context() override;

  void submit(uint64_t fence, plugin::Slice slice, plugin::Cache* cache) override;
  facet_status wait(uint64_t fence, int64_t timeout_us) override;
  void output_read(uint32_t port, uint32_t first, uint32_t rows, float* data) override;

 private:
  void finish(uint64_t fence, std::exception_ptr failure);

  Program& program_;
  ContextMemory layout_;
  Memory memory_;

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t submitted_ = 0, reached_ = 0;
  std::exception_ptr failure_;  // of the last slice that failed; the run has no results
};

}  // namespace facet::cpu
