// A process in a root of its own, as that of a sandbox: with a pid namespace of its own or without. Root may
// make one, and anybody else in a user namespace.
#pragma once

#include <doctest/doctest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <utility>

namespace facet::test {

// Is killed with its owner.
class Boxed {
 public:
  // `does` runs in it, and its result is the exit status; 100 if it threw, 101 if there is no such process
  // here.
  Boxed(const std::string& root, bool own_pids, const std::function<int()>& does) {
    pid_ = ::fork();
    REQUIRE(pid_ >= 0);
    if (pid_ == 0) ::_exit(enter(root, own_pids) ? run(own_pids, does) : 101);
  }
  ~Boxed() {
    if (pid_ > 0) ::kill(pid_, SIGKILL);
    wait();
  }
  Boxed(const Boxed&) = delete;

  int wait() {
    const pid_t pid = std::exchange(pid_, 0);
    return pid > 0 ? status_of(pid) : -1;
  }

 private:
  static int status_of(pid_t child) {
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static bool enter(const std::string& root, bool own_pids) {
    const int spaces = (::geteuid() == 0 ? 0 : CLONE_NEWUSER) | (own_pids ? CLONE_NEWPID : 0);
    return (spaces == 0 || ::unshare(spaces) == 0) && ::chroot(root.c_str()) == 0 && ::chdir("/") == 0;
  }
  static int run(bool own_pids, const std::function<int()>& does) {
    // The first child is the one in the new pid namespace.
    const pid_t child = own_pids ? ::fork() : 0;
    if (child != 0) return status_of(child);
    if (own_pids) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      return does();
    } catch (...) {
      return 100;
    }
  }

  pid_t pid_;
};

}  // namespace facet::test
