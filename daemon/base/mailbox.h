// A mailbox: how two threads of a process exchange moved messages. The only place with a mutex.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace facet {

// Any thread may post; one thread takes. Unbounded: whoever posts bounds what is outstanding.
template <typename T>
class Mailbox {
 public:
  void post(T message) {
    {
      std::lock_guard lock(mutex_);
      messages_.push_back(std::move(message));
    }
    arrived_.notify_one();
  }

  // Everything that has come so far, in order; empty if nothing has.
  std::deque<T> take() {
    std::lock_guard lock(mutex_);
    return std::exchange(messages_, {});
  }

  bool empty() {
    std::lock_guard lock(mutex_);
    return messages_.empty();
  }

  // Waits until something has come.
  std::deque<T> wait() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return !messages_.empty(); });
    return std::exchange(messages_, {});
  }
  // The same, but no longer than that: empty if nothing has.
  std::deque<T> wait(std::chrono::microseconds most) {
    std::unique_lock lock(mutex_);
    arrived_.wait_for(lock, most, [&] { return !messages_.empty(); });
    return std::exchange(messages_, {});
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<T> messages_;
};

}  // namespace facet
