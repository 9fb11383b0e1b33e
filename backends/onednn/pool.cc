#include "backends/onednn/pool.h"

#include <chrono>
#include <utility>

namespace facet::cpu {
namespace {

constexpr uint64_t kPieceBits = 24;
constexpr uint64_t kPieceMask = (1u << kPieceBits) - 1;
constexpr auto kLookout = std::chrono::microseconds(50);

uint32_t next_of(uint64_t ticket) {
  return ticket & kPieceMask;
}
uint32_t count_of(uint64_t ticket) {
  return ticket >> kPieceBits & kPieceMask;
}
uint64_t job_of(uint64_t ticket) {
  return ticket >> (2 * kPieceBits);
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");  // waits for about as long; yield does nothing on most CPUs
#endif
}

// Calls `ready` again and again for kLookout, or until it is true.
template <typename Ready>
bool look_out(const Ready& ready) {
  for (int i = 0; i < 64; ++i) {
    if (ready()) return true;
    pause();
  }
  auto end = std::chrono::steady_clock::now() + kLookout;
  do {
    for (int i = 0; i < 32; ++i) {
      if (ready()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

}  // namespace

Pool::Pool(uint32_t workers, const std::function<void()>& begin) {
  threads_.reserve(workers - 1);
  for (uint32_t worker = 1; worker < workers; ++worker) {
    threads_.emplace_back([this, begin, worker] {
      begin();
      work(worker);
    });
  }
}

Pool::~Pool() {
  stopping_.store(true);
  alarm_.fetch_add(1);
  alarm_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Pool::run_job(Job job, uint32_t count) {
  if (count == 0) return;
  job_ = job;
  if (count == 1 || threads_.empty()) {
    for (uint32_t i = 0; i < count; ++i) do_piece(i, 0);
  } else {
    share_pieces(count);
  }
  if (failed_.test()) {
    failed_.clear();
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void Pool::share_pieces(uint32_t count) {
  done_.store(0, std::memory_order_relaxed);
  uint64_t number = job_of(ticket_.load(std::memory_order_relaxed)) + 1;
  ticket_.store(number << (2 * kPieceBits) | uint64_t{count} << kPieceBits);
  if (sleepers_.load() != 0) {
    alarm_.fetch_add(1);
    alarm_.notify_all();
  }
  while (take_piece(0)) {
  }
  wait_for_pieces(count);
}

void Pool::do_piece(uint32_t piece, uint32_t worker) {
  try {
    job_.call(job_.function, piece, worker);
  } catch (...) {
    if (!failed_.test_and_set()) failure_ = std::current_exception();
  }
}

bool Pool::take_piece(uint32_t worker) {
  uint64_t ticket = ticket_.load(std::memory_order_relaxed);
  if (next_of(ticket) >= count_of(ticket)) return false;
  ticket = ticket_.fetch_add(1);
  if (next_of(ticket) >= count_of(ticket)) return false;
  do_piece(next_of(ticket), worker);
  if (done_.fetch_add(1) + 1 == count_of(ticket)) done_.notify_one();
  return true;
}

void Pool::wait_for_pieces(uint32_t count) {
  if (look_out([&] { return done_.load() == count; })) return;
  for (uint32_t done = done_.load(); done != count; done = done_.load()) done_.wait(done);
}

void Pool::work(uint32_t worker) {
  for (;;) {
    uint64_t seen = ticket_.load();
    if (take_piece(worker)) continue;
    if (!wait_for_job(seen)) return;
  }
}

// Returns when there is a job newer than `seen` or pieces left; false if the pool ends.
bool Pool::wait_for_job(uint64_t seen) {
  auto ready = [&] {
    uint64_t ticket = ticket_.load();
    return job_of(ticket) != job_of(seen) || next_of(ticket) < count_of(ticket) || stopping_.load();
  };
  if (!look_out(ready)) {
    sleepers_.fetch_add(1);
    uint32_t alarm = alarm_.load();
    if (!ready()) alarm_.wait(alarm);
    sleepers_.fetch_sub(1);
  }
  return !stopping_.load();
}

}  // namespace facet::cpu
