#include "daemon/broker/channel.h"

#include <sys/socket.h>

#include <asio/post.hpp>
#include <cerrno>
#include <cstring>

namespace facet::broker {
namespace {

// An outbox that held more is given back when it is empty.
constexpr size_t kKeptOutbox = 64 << 10;
// Frames that are handed out before others have their turn.
constexpr int kFramesAtOnce = 16;

bool try_again() {
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

Error system_error() {
  const bool gone = errno == EPIPE || errno == ECONNRESET;
  return Error{gone ? FACET_UNAVAILABLE : FACET_IO, std::strerror(errno)};
}

}  // namespace

Channel::Channel(asio::io_context& loop, UniqueFd socket, size_t max_frame_bytes, Owner& owner)
    : socket_(loop, asio::local::stream_protocol(), socket.release()),
      reader_(max_frame_bytes),
      owner_(owner) {}

void Channel::start() {
  wait_readable();
}

void Channel::send(std::span<const std::byte> frames) {
  if (end_ || frames.empty()) return;
  if (sent_ > kKeptOutbox && sent_ > unsent()) {
    outbox_.erase(outbox_.begin(), outbox_.begin() + static_cast<ptrdiff_t>(sent_));
    sent_ = 0;
  }
  outbox_.insert(outbox_.end(), frames.begin(), frames.end());
  if (!writing_) flush();
}

void Channel::hold_input(bool held) {
  if (held_ == held || end_) return;
  held_ = held;
  if (held_) return;
  // Frames that had come already go first, but not from within the owner's call.
  hand_out_later();
}

void Channel::finish() {
  finishing_ = true;
  if (!end_ && unsent() == 0) end(Error{FACET_CANCELLED, "closed"});
}

void Channel::close() {
  end(Error{FACET_CANCELLED, "closed"});
}

void Channel::wait_readable() {
  if (end_ || reading_ || held_ || finishing_) return;
  reading_ = true;
  ++waiting_;
  socket_.async_wait(asio::socket_base::wait_read, [this](const asio::error_code& failed) {
    --waiting_;
    reading_ = false;
    if (!end_ && !failed) receive();
    handled();
  });
}

void Channel::receive() {
  if (held_ || finishing_) return;
  auto space = reader_.space();
  const ssize_t received = ::recv(socket_.native_handle(), space.data(), space.size(), MSG_DONTWAIT);
  if (received == 0) return end(Error{FACET_UNAVAILABLE, "the other side closed"});
  if (received < 0 && !try_again()) return end(system_error());
  if (received > 0) reader_.filled(static_cast<size_t>(received));
  hand_out();
}

// Hands out what frames there are, some at a time, and goes on reading.
void Channel::hand_out() {
  for (int frames = 0; !end_ && !held_ && !finishing_; ++frames) {
    if (frames == kFramesAtOnce) return hand_out_later();
    auto frame = reader_.next();
    if (!frame) return owner_.on_unreadable(frame.error());
    if (frame->empty()) {
      reader_.trim();
      owner_.on_partial(reader_.buffered());
      return wait_readable();
    }
    owner_.on_frame(*frame);
  }
}

void Channel::hand_out_later() {
  if (later_) return;
  later_ = true;
  ++waiting_;
  asio::post(socket_.get_executor(), [this] {
    --waiting_;
    later_ = false;
    if (!end_) hand_out();
    handled();
  });
}

void Channel::flush() {
  while (sent_ < outbox_.size()) {
    const ssize_t written = ::send(socket_.native_handle(), outbox_.data() + sent_, outbox_.size() - sent_,
                                   MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written >= 0) {
      sent_ += static_cast<size_t>(written);
    } else if (errno != EINTR) {
      if (!try_again()) return end(system_error());
      return wait_writable();
    }
  }
  outbox_.clear();
  sent_ = 0;
  if (outbox_.capacity() > kKeptOutbox) outbox_.shrink_to_fit();
  if (finishing_) end(Error{FACET_CANCELLED, "closed"});
}

void Channel::wait_writable() {
  if (end_ || writing_) return;
  writing_ = true;
  ++waiting_;
  socket_.async_wait(asio::socket_base::wait_write, [this](const asio::error_code& failed) {
    --waiting_;
    writing_ = false;
    if (!end_ && !failed) {
      flush();
      if (!end_ && unsent() == 0) owner_.on_written();
    }
    handled();
  });
}

void Channel::end(Error why) {
  if (end_) return;
  end_ = std::move(why);
  asio::error_code ignored;
  socket_.shutdown(asio::socket_base::shutdown_both, ignored);
  socket_.cancel(ignored);
  ++waiting_;
  asio::post(socket_.get_executor(), [this] {
    --waiting_;
    handled();
  });
}

// The last act of every handler: after it the channel may be gone.
void Channel::handled() {
  if (!end_ || waiting_ > 0) return;
  asio::error_code ignored;
  socket_.close(ignored);
  const Error why = *end_;
  owner_.on_ended(why);
}

}  // namespace facet::broker
