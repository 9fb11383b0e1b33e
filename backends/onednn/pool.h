// The compute threads of a device.
//
//   worker   one of the threads: number 0 is whoever calls run(), the others are the pool's own.
//   active   all workers at first; those with numbers from the active count on sleep until it grows.
//
// The pieces of a job go to whichever active worker is free, by one counter, and whoever does the last one
// begins the next job: so a worker that the system has put aside holds up at most the piece that it is in,
// the caller's thread like all others. Between jobs a worker looks out for the next one for some 50
// microseconds, then sleeps in the kernel: an idle pool takes no CPU.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include "backends/onednn/jobs.h"
#include "backends/onednn/neighbours.h"

namespace facet::cpu {

class Pool {
 public:
  // `workers` in all, at least 1. Each thread of the pool calls `begin` first.
  explicit Pool(
      uint32_t workers, const std::function<void()>& begin = [] {});
  ~Pool();
  Pool(const Pool&) = delete;

  uint32_t workers() const { return static_cast<uint32_t>(threads_.size()) + 1; }

  // How many are active from the next run on, 1 .. workers(). Of the others each may still take one piece,
  // if it was about to, and begin the next job if that was the last. From the thread that calls run(),
  // between runs.
  void set_active(uint32_t workers);
  uint32_t active() const { return active_.load(std::memory_order_relaxed); }

  // Does one job after the other, each of fewer than 2^23 pieces; returns when all are done. If some pieces
  // throw, one of the exceptions is thrown here, after the job's other pieces; so is what the coroutine
  // throws. Only from one thread at a time.
  void run(Jobs jobs);
  void run(uint32_t count, const auto& piece) { run(only(Job(count, piece))); }

 private:
  static Jobs only(Job job) { co_yield job; }

  void work(uint32_t worker);
  bool take_piece(uint32_t worker);
  void do_piece(uint32_t piece, uint32_t worker);
  // Whoever calls these is the only one who does anything: no job has pieces left.
  void begin_job(uint32_t worker);
  bool next_job();
  void publish(uint32_t count, uint32_t worker);

  void wait_for_job(uint32_t worker, uint64_t seen);
  bool rests(uint32_t worker) const { return worker >= active(); }
  void wait_to_be_active(uint32_t worker);

  // The current job's number (16 bits), its count (24; 0 between runs) and the next piece (24). A worker that
  // has taken a piece may read job_ until it has counted it as done; nobody else may but whoever begins a
  // job.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> alarm_{0};
  std::atomic<uint32_t> active_;
  std::atomic<bool> stopping_{false};
  Jobs* jobs_ = nullptr;
  Job job_;
  std::atomic_flag failed_;
  std::exception_ptr failure_;
  Neighbours neighbours_;
  std::vector<std::thread> threads_;
};

}  // namespace facet::cpu
