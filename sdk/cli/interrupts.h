// Ctrl-C and SIGTERM while an answer is awaited.
//
// The *signals* are SIGINT and SIGTERM. They are blocked in the thread that uses this, and in those it starts
// later: nothing is ever interrupted by surprise. Who waits takes them: Interrupts while there is an answer,
// a LineReader while there is none.
#pragma once

#include <signal.h>

#include <atomic>
#include <stop_token>
#include <thread>

namespace facet::cli {

// Blocks the signals in this thread, for good, and gives the set of them.
sigset_t block_signals();

// Until end(), the signals are its thread's; the first requests a stop, the second ends the process.
class Interrupts {
 public:
  Interrupts();
  ~Interrupts() { end(); }

  std::stop_token stop() const { return stop_.get_token(); }
  // Takes no more signals: what stop() and terminated() say is final.
  void end();
  // Whether SIGTERM came.
  bool terminated() const { return terminated_; }

 private:
  void wait();

  sigset_t signals_;
  std::stop_source stop_;
  std::atomic<bool> ended_ = false;
  std::atomic<bool> terminated_ = false;
  std::thread thread_;
};

}  // namespace facet::cli
