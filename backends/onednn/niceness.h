// The CPU priority of the compute threads.
//
// A thread's *nice* value says how far it stands back for others on a busy core, in the system's steps; each
// costs it about a fifth of its share.
//
// Any thread may stand back further, but only one that RLIMIT_NICE (systemd's LimitNICE=) or CAP_SYS_NICE
// allows it may come back. Where that is not allowed no thread is ever put back.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <mutex>
#include <vector>

namespace facet::cpu {

class Niceness {
 public:
  // Tries with a thread of its own whether one may come back.
  Niceness();

  // The calling thread is one of those that set() is for, and lives as long as that is called.
  void join();
  // So many steps above what the constructor's thread had. Takes effect at once. Any thread.
  void set(uint32_t steps);
  bool can_come_back() const { return can_come_back_; }

 private:
  int usual_;
  bool can_come_back_ = false;

  std::mutex mutex_;
  uint32_t steps_ = 0;
  std::vector<pid_t> threads_;
};

}  // namespace facet::cpu
