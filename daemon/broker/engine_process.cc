#include "daemon/broker/engine_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

namespace facet::broker {
namespace {

constexpr int kLinkFd = 3;
constexpr int kExitNotStarted = 127;

// The child between fork and exec: async-signal-safe calls alone.
[[noreturn]] void become_engine(char* const* words, int link, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExitNotStarted);
  if (link == kLinkFd) {
    ::fcntl(link, F_SETFD, 0);
  } else {
    ::dup2(link, kLinkFd);
  }
  ::close_range(kLinkFd + 1, ~0u, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::execv(words[0], words);
  ::_exit(kExitNotStarted);
}

}  // namespace

Result<EngineProcess> EngineProcess::start(const std::string& program,
                                           const std::vector<std::string>& arguments, UniqueFd link) {
  if (::access(program.c_str(), X_OK) != 0) {
    return Error{FACET_NOT_FOUND, "the engine's program " + program + ": " + std::strerror(errno)};
  }
  std::vector<std::string> words = {program, "--link-fd", std::to_string(kLinkFd)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (auto& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) return Error{FACET_IO, std::string("fork: ") + std::strerror(errno)};
  if (child == 0) become_engine(pointers.data(), link.get(), parent);
  UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  if (!pidfd) {
    const std::string why = std::strerror(errno);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return Error{FACET_IO, "pidfd_open: " + why};
  }
  return EngineProcess(child, std::move(pidfd));
}

void EngineProcess::kill() {
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0);
}

std::string EngineProcess::reap() {
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return "not known how";
  if (WIFEXITED(status)) return "exit status " + std::to_string(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  return "killed by signal " + std::to_string(signal) + " (" + ::strsignal(signal) + ")";
}

}  // namespace facet::broker
