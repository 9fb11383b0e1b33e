#include "daemon/engine/link_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "daemon/base/log.h"

namespace facet::engine {
namespace {

// Sent bytes that may stay in front of what is to be sent.
constexpr size_t kKeptSent = 64 << 10;

Error io_error(const char* what) {
  return Error{FACET_IO, std::string(what) + ": " + std::strerror(errno)};
}

bool try_again() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

}  // namespace

Result<std::unique_ptr<LinkSession>> LinkSession::create(UniqueFd socket) {
  UniqueFd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake) return io_error("eventfd");
  return std::unique_ptr<LinkSession>(new LinkSession(std::move(socket), std::move(wake)));
}

void LinkSession::send(const link::FromEngine& message) {
  std::lock_guard lock(mutex_);
  if (broken_) return;
  if (sent_ > kKeptSent && sent_ > outbox_.size() - sent_) {
    outbox_.erase(outbox_.begin(), outbox_.begin() + static_cast<ptrdiff_t>(sent_));
    sent_ = 0;
  }
  const bool was_empty = outbox_.empty();
  auto encoded = link::encode(message, outbox_);
  if (!encoded) {
    log::error("a message to the broker cannot be encoded: " + encoded.error().message);
    return;
  }
  if (!was_empty) return;
  flush_locked();
  if (!outbox_.empty()) wake();
}

void LinkSession::flush_locked() {
  while (sent_ < outbox_.size()) {
    const ssize_t written =
        ::send(socket_.get(), outbox_.data() + sent_, outbox_.size() - sent_, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written >= 0) {
      sent_ += static_cast<size_t>(written);
    } else if (errno == EINTR) {
      continue;
    } else {
      if (try_again()) return;
      broken_ = true;  // run() sees the same end
      break;
    }
  }
  outbox_.clear();
  sent_ = 0;
}

void LinkSession::wake() {
  const uint64_t one = 1;
  // A full counter has woken the link thread already.
  [[maybe_unused]] auto written = ::write(wake_.get(), &one, sizeof one);
}

void LinkSession::close() {
  ::shutdown(socket_.get(), SHUT_RDWR);
}

void LinkSession::stop() {
  stopped_ = true;
  wake();
}

Result<void> LinkSession::wait_and_flush(bool& readable) {
  pollfd waits[2] = {{socket_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
  {
    std::lock_guard lock(mutex_);
    if (!outbox_.empty()) waits[0].events |= POLLOUT;
  }
  if (::poll(waits, 2, -1) < 0 && errno != EINTR) return io_error("poll");
  if (waits[1].revents) {
    uint64_t count;
    [[maybe_unused]] auto read = ::read(wake_.get(), &count, sizeof count);
  }
  if (waits[0].revents & POLLOUT) {
    std::lock_guard lock(mutex_);
    flush_locked();
  }
  readable = waits[0].revents & (POLLIN | POLLHUP | POLLERR);
  return {};
}

// False at the link's end.
Result<bool> LinkSession::receive() {
  auto space = reader_.space();
  const ssize_t received = ::recv(socket_.get(), space.data(), space.size(), MSG_DONTWAIT);
  if (received > 0) {
    reader_.filled(static_cast<size_t>(received));
    return true;
  }
  if (received == 0) return false;
  if (try_again()) return true;
  if (errno == ECONNRESET) return false;
  return io_error("the link");
}

// The next message; nothing at the link's end and after stop().
Result<std::optional<link::ToEngine>> LinkSession::next() {
  while (!stopped_) {
    FACET_TRY(auto frame, reader_.next());
    if (!frame.empty()) {
      FACET_TRY(auto message, link::decode_to_engine(frame));
      return std::optional(std::move(message));
    }
    bool readable = false;
    FACET_CHECK(wait_and_flush(readable));
    if (!readable) continue;
    FACET_TRY(const bool open, receive());
    if (!open) break;
  }
  return std::optional<link::ToEngine>();
}

Result<link::BrokerHello> LinkSession::receive_hello() {
  FACET_TRY(auto first, next());
  if (!first) return Error{FACET_UNAVAILABLE, "the broker went without a hello"};
  auto* hello = std::get_if<link::BrokerHello>(&*first);
  if (!hello) return Error{FACET_MALFORMED, "the broker's first message is no hello"};
  if (hello->version == link::kVersion) return std::move(*hello);
  send(link::EngineHello());
  return Error{FACET_VERSION_MISMATCH, "the broker speaks version " + std::to_string(hello->version) +
                                           " of the link, this engine " + std::to_string(link::kVersion)};
}

Result<void> LinkSession::run(const Take& take) {
  for (;;) {
    FACET_TRY(auto message, next());
    if (!message) return {};
    if (std::holds_alternative<link::BrokerHello>(*message)) {
      return Error{FACET_MALFORMED, "the broker's hello came twice"};
    }
    take(std::move(*message));
  }
}

}  // namespace facet::engine
