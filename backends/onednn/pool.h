// The compute threads of a device.
//
//   worker   one of the threads: number 0 is whoever calls run(), the others are the pool's own.
//   job      a function to be called for pieces 0 .. count-1, each once, by whichever worker is free.
//
// Pieces are handed out by one counter, so a worker that the system has put aside holds up at most the piece
// it is in. Between jobs a worker looks out for the next one for some 50 microseconds, then sleeps in the
// kernel: an idle pool takes no CPU.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace facet::cpu {

class Pool {
 public:
  // `workers` in all, at least 1. Each thread of the pool calls `begin` first.
  explicit Pool(
      uint32_t workers, const std::function<void()>& begin = [] {});
  ~Pool();
  Pool(const Pool&) = delete;

  uint32_t workers() const { return static_cast<uint32_t>(threads_.size()) + 1; }

  // Calls piece(i, worker) for i in [0, count), count below 2^23; returns when all are done. If some throw,
  // one of the exceptions is thrown here, after the other pieces. Only from one thread at a time.
  template <typename Piece>
  void run(uint32_t count, const Piece& piece) {
    auto call = [](const void* function, uint32_t i, uint32_t worker) {
      (*static_cast<const Piece*>(function))(i, worker);
    };
    run_job({call, &piece}, count);
  }

 private:
  struct Job {
    void (*call)(const void* function, uint32_t piece, uint32_t worker) = nullptr;
    const void* function = nullptr;
  };

  void run_job(Job job, uint32_t count);
  void share_pieces(uint32_t count);
  void do_piece(uint32_t piece, uint32_t worker);
  void work(uint32_t worker);
  bool take_piece(uint32_t worker);
  bool wait_for_job(uint64_t seen);
  void wait_for_pieces(uint32_t count);

  // The current job's number (16 bits), its count (24) and the next piece (24). A worker that has taken a
  // piece may read job_ until it has counted it as done; nobody else may.
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  alignas(64) std::atomic<uint32_t> sleepers_{0};
  std::atomic<uint32_t> alarm_{0};
  std::atomic<bool> stopping_{false};
  Job job_;
  std::atomic_flag failed_;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace facet::cpu
