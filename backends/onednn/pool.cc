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
uint64_t number_of(uint64_t ticket) {
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

Pool::Pool(uint32_t workers, const std::function<void()>& begin) : active_(workers), neighbours_(workers) {
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
  set_active(workers());
  for (std::thread& thread : threads_) thread.join();
}

void Pool::set_active(uint32_t workers) {
  if (workers == active()) return;
  active_.store(workers);
  active_.notify_all();
}

void Pool::run(Jobs jobs) {
  jobs_ = &jobs;
  neighbours_.wakes(0);
  begin_job(0);
  for (uint64_t seen = ticket_.load(); count_of(seen) != 0; seen = ticket_.load()) {
    if (!take_piece(0)) wait_for_job(0, seen);
  }
  neighbours_.sleeps(0);
  if (failed_.test()) {
    failed_.clear();
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void Pool::work(uint32_t worker) {
  neighbours_.wakes(worker);
  while (!stopping_.load()) {
    const uint64_t seen = ticket_.load();
    if (rests(worker)) {
      wait_to_be_active(worker);
    } else if (!take_piece(worker)) {
      wait_for_job(worker, seen);
    }
  }
}

bool Pool::take_piece(uint32_t worker) {
  uint64_t ticket = ticket_.load(std::memory_order_relaxed);
  if (next_of(ticket) >= count_of(ticket)) return false;
  neighbours_.between_pieces(worker);
  ticket = ticket_.fetch_add(1);
  if (next_of(ticket) >= count_of(ticket)) return false;
  do_piece(next_of(ticket), worker);
  if (done_.fetch_add(1) + 1 == count_of(ticket)) begin_job(worker);
  return true;
}

void Pool::do_piece(uint32_t piece, uint32_t worker) {
  try {
    job_.run(piece, worker);
  } catch (...) {
    if (!failed_.test_and_set()) failure_ = std::current_exception();
  }
}

void Pool::begin_job(uint32_t worker) {
  while (next_job()) {
    const uint32_t count = job_.count();
    if (count > 1 && !rests(1)) return publish(count, worker);
    for (uint32_t i = 0; i < count; ++i) {
      if (rests(1)) {
        neighbours_.between_pieces(worker);
      } else {
        neighbours_.goes_on(worker);  // no nap: the others wait for this one
      }
      do_piece(i, worker);
    }
  }
  publish(0, worker);
}

bool Pool::next_job() {
  try {
    if (failed_.test() || !jobs_->next()) return false;
    job_ = jobs_->job();
    return true;
  } catch (...) {
    failed_.test_and_set();
    failure_ = std::current_exception();
    return false;
  }
}

// After a count of 0 nothing of the run may be used any more.
void Pool::publish(uint32_t count, uint32_t worker) {
  done_.store(0, std::memory_order_relaxed);
  const uint64_t number = number_of(ticket_.load(std::memory_order_relaxed)) + 1;
  ticket_.store(number << (2 * kPieceBits) | uint64_t{count} << kPieceBits);
  const bool for_others = count != 0 || worker != 0;  // the end of a run is for worker 0
  if (for_others && sleepers_.load() != 0) {
    alarm_.fetch_add(1);
    alarm_.notify_all();
  }
}

void Pool::wait_to_be_active(uint32_t worker) {
  neighbours_.sleeps(worker);
  for (uint32_t active = active_.load(); worker >= active; active = active_.load()) active_.wait(active);
  neighbours_.wakes(worker);
}

// Returns, at the latest, when there is a job newer than `seen`, pieces are left, the run ends or the pool.
void Pool::wait_for_job(uint32_t worker, uint64_t seen) {
  auto ready = [&] {
    const uint64_t ticket = ticket_.load();
    return number_of(ticket) != number_of(seen) || next_of(ticket) < count_of(ticket) || stopping_.load();
  };
  if (look_out(ready)) return;
  neighbours_.sleeps(worker);
  sleepers_.fetch_add(1);
  const uint32_t alarm = alarm_.load();
  if (!ready()) alarm_.wait(alarm);
  sleepers_.fetch_sub(1);
  neighbours_.wakes(worker);
}

}  // namespace facet::cpu
