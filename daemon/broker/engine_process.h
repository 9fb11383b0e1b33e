// The engine as a child process: started on one end of the link, killed, and waited for.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/base/unique_fd.h"

namespace facet::broker {

// Owns a running child. The child dies with the broker, however that ends (the kernel sees to it).
class EngineProcess {
 public:
  // Runs `program --link-fd 3 arguments...`; `link` is descriptor 3 there, and nothing else of ours is open.
  // not_found if there is no such program, io if it cannot be started.
  static Result<EngineProcess> start(const std::string& program, const std::vector<std::string>& arguments,
                                     UniqueFd link);

  EngineProcess(EngineProcess&&) = default;
  EngineProcess& operator=(EngineProcess&&) = default;

  pid_t pid() const { return pid_; }
  // Readable once the process has ended.
  int ended_fd() const { return pidfd_.get(); }
  void kill();
  // Only once it has ended: "exit status 1", "killed by signal 9 (Killed)". Call it once.
  std::string reap();

 private:
  EngineProcess(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid_ = 0;
  UniqueFd pidfd_;
};

}  // namespace facet::broker
