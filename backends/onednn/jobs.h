// What a pool is to do, job after job.
//
//   piece   a part of a job that one worker does
//   job     a function to be called for pieces 0 .. count-1, each once, in any order
//   jobs    a coroutine that hands over one job at a time with co_yield; what stands after that runs when the
//           job's pieces are done, on the thread of any worker
#pragma once

#include <coroutine>
#include <cstdint>
#include <exception>
#include <utility>

namespace facet::cpu {

class Job {
 public:
  Job() = default;
  // piece(i, worker), which outlives the job.
  template <typename Piece>
  Job(uint32_t count, const Piece& piece)
      : call_([](const void* function, uint32_t i, uint32_t worker) {
          (*static_cast<const Piece*>(function))(i, worker);
        }),
        function_(&piece),
        count_(count) {}

  uint32_t count() const { return count_; }
  void run(uint32_t piece, uint32_t worker) const { call_(function_, piece, worker); }

 private:
  void (*call_)(const void* function, uint32_t piece, uint32_t worker) = nullptr;
  const void* function_ = nullptr;
  uint32_t count_ = 0;
};

class Jobs {
 public:
  struct promise_type {
    Job job;
    std::exception_ptr failure;

    Jobs get_return_object() { return Jobs(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    std::suspend_always yield_value(Job next) noexcept {
      job = next;
      return {};
    }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { failure = std::current_exception(); }
  };

  Jobs(Jobs&& other) noexcept : coroutine_(std::exchange(other.coroutine_, nullptr)) {}
  ~Jobs() {
    if (coroutine_) coroutine_.destroy();
  }

  // Goes on to the next job; false at the end. Throws what the coroutine throws, which ends it.
  bool next() {
    coroutine_.resume();
    if (coroutine_.promise().failure) std::rethrow_exception(coroutine_.promise().failure);
    return !coroutine_.done();
  }
  const Job& job() const { return coroutine_.promise().job; }

 private:
  explicit Jobs(std::coroutine_handle<promise_type> coroutine) : coroutine_(coroutine) {}

  std::coroutine_handle<promise_type> coroutine_;
};

}  // namespace facet::cpu
