#include "sdk/cli/interrupts.h"

#include <pthread.h>
#include <unistd.h>

#include "sdk/cli/output.h"

namespace facet::cli {

sigset_t block_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

Interrupts::Interrupts() : signals_(block_signals()), thread_([this] { wait(); }) {}

void Interrupts::end() {
  if (ended_.exchange(true)) return;
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void Interrupts::wait() {
  for (;;) {
    int signal = 0;
    sigwait(&signals_, &signal);
    if (ended_) return;
    if (signal == SIGTERM) terminated_ = true;
    if (!stop_.request_stop()) _exit(kCancelled);
  }
}

}  // namespace facet::cli
