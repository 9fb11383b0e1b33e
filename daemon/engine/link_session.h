// The engine's end of the link.
//
// Two threads meet here: the *link thread* calls receive_hello() and then run(), which read what the broker
// says; any thread, above all the engine's, calls send(). A message is written to the socket by the thread
// that sends it, since one hop less is tens of microseconds less to the app; only what the socket does not
// take at once waits in the *outbox* for the link thread. The outbox is bounded by the credit that the broker
// granted.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "daemon/base/result.h"
#include "daemon/base/unique_fd.h"
#include "daemon/link/codec.h"

namespace facet::engine {

class LinkSession {
 public:
  using Take = std::function<void(link::ToEngine)>;

  // Takes the connected socket. io if the system refuses what it takes to wait on it.
  static Result<std::unique_ptr<LinkSession>> create(UniqueFd socket);

  // Any thread; never blocks. After the link's end it does nothing: run() says so.
  void send(const link::FromEngine& message);

  // Waits for the broker's hello; the caller answers it with its own. version_mismatch for a broker of
  // another release, which is told ours; unavailable if it goes without a hello; otherwise as run().
  Result<link::BrokerHello> receive_hello();

  // Gives each message to `take`, on this thread, until the broker closes the link or stop() is called:
  // success. malformed, too_large or unsupported for what is no message, io otherwise.
  Result<void> run(const Take& take);

  // Any thread: run() returns soon.
  void stop();
  // Ends the link: the broker sees that nobody is there any more. After run().
  void close();

 private:
  LinkSession(UniqueFd socket, UniqueFd wake) : socket_(std::move(socket)), wake_(std::move(wake)) {}

  Result<void> wait_and_flush(bool& readable);
  Result<bool> receive();
  Result<std::optional<link::ToEngine>> next();
  void flush_locked();
  void wake();

  const UniqueFd socket_;
  const UniqueFd wake_;  // an eventfd: the outbox has something, or stop() was called
  std::atomic<bool> stopped_ = false;
  protocol::FrameReader reader_{link::kMaxMessageBytes};  // the link thread's

  std::mutex mutex_;  // of what follows
  link::Bytes outbox_;
  size_t sent_ = 0;      // bytes at the outbox's front that are written
  bool broken_ = false;  // the socket takes nothing any more
};

}  // namespace facet::engine
