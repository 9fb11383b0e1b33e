#include "sdk/src/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace facet::client {
namespace {

// How long a writer whose socket is full waits before it looks whether it is to read.
constexpr std::chrono::milliseconds kFullSocketWait(5);

facet::Error gone(const std::string& why) {
  return {FACET_UNAVAILABLE, "the connection to the daemon is lost: " + why};
}

facet::Error gone(int error) {
  return gone(std::generic_category().message(error));
}

}  // namespace

protocol::RequestId request_of(const protocol::ServerMessage& message) {
  return std::visit(
      [](const auto& one) -> protocol::RequestId {
        if constexpr (requires { one.id; }) return one.id;
        return 0;
      },
      message);
}

// ---- opening

facet::Result<std::unique_ptr<Connection>> Connection::open(const std::string& path, const std::string& app,
                                                            Deadline deadline) {
  FACET_TRY(auto socket, connect_socket(path, deadline));
  std::unique_ptr<Connection> connection(new Connection(std::move(socket)));
  FACET_CHECK(connection->greet(app, deadline));
  return connection;
}

facet::Result<void> Connection::greet(const std::string& app, Deadline deadline) {
  protocol::ClientHello hello;
  hello.app = app;
  protocol::Bytes bytes;
  FACET_CHECK(protocol::encode(protocol::ClientMessage(hello), bytes));
  FACET_CHECK(write(bytes));

  for (;;) {
    FACET_TRY(auto frame, reader_.next());
    if (frame.empty()) {
      if (!wait_ready(socket_, POLLIN, deadline)) {
        return facet::Error{FACET_TIMEOUT, "the daemon does not answer"};
      }
      FACET_CHECK(receive());
      continue;
    }
    FACET_TRY(auto message, protocol::decode_server(frame));
    if (auto* failed = std::get_if<protocol::Failed>(&message)) {
      return facet::Error{failed->code, std::move(failed->message), failed->retry_after_ms};
    }
    auto* answer = std::get_if<protocol::ServerHello>(&message);
    if (!answer) return facet::Error{FACET_MALFORMED, "the daemon's first message is no hello"};
    if (answer->version < hello.version_min || answer->version > hello.version_max) {
      return facet::Error{FACET_VERSION_MISMATCH, "the daemon speaks version " +
                                                      std::to_string(answer->version) + ", this client " +
                                                      std::to_string(protocol::kVersion)};
    }
    hello_ = std::move(*answer);
    return take_frames();
  }
}

// ---- writing

facet::Result<void> Connection::send(const protocol::ClientMessage& message) {
  protocol::Bytes bytes;
  FACET_CHECK(protocol::encode(message, bytes));
  if (hello_.limits.message_bytes != 0 && bytes.size() > hello_.limits.message_bytes) {
    return facet::Error{FACET_TOO_LARGE, "message of " + std::to_string(bytes.size()) +
                                             " bytes, the daemon takes at most " +
                                             std::to_string(hello_.limits.message_bytes)};
  }
  std::lock_guard writing(writing_);
  return write(bytes);
}

facet::Result<void> Connection::write(const protocol::Bytes& bytes) {
  size_t written = 0;
  while (written < bytes.size()) {
    ssize_t n =
        ::send(socket_.get(), bytes.data() + written, bytes.size() - written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      written += static_cast<size_t>(n);
    } else if (errno == EAGAIN) {
      read_while_writing();
    } else if (errno != EINTR) {
      return gone(errno);
    }
  }
  return {};
}

// A daemon whose answers are not read may take no more questions: so a thread that cannot write reads, unless
// another one does.
void Connection::read_while_writing() {
  std::unique_lock lock(mutex_);
  Deadline deadline = std::chrono::steady_clock::now() + kFullSocketWait;
  if (led_ || lost_) {
    lock.unlock();
    wait_ready(socket_, POLLOUT, deadline);
    return;
  }
  led_ = true;
  lock.unlock();
  pollfd entry = {socket_.get(), POLLIN | POLLOUT, 0};
  ::poll(&entry, 1, static_cast<int>(kFullSocketWait.count()));
  lock.lock();
  if ((entry.revents & (POLLIN | POLLHUP)) != 0) lead(lock);
  hand_over();
}

// ---- reading

// Reads once and fills mailboxes. The caller leads; the lock is held on entry and return.
void Connection::lead(std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  auto received = receive();
  lock.lock();
  if (received.ok()) received = take_frames();
  if (!received.ok()) lose(std::move(received).error());
}

// Every whole frame into its mailbox; so the reader holds none when it waits for the socket.
facet::Result<void> Connection::take_frames() {
  for (;;) {
    FACET_TRY(auto frame, reader_.next());
    if (frame.empty()) return {};
    FACET_TRY(auto message, protocol::decode_server(frame));
    dispatch(std::move(message));
  }
}

// Waits for bytes and takes them.
facet::Result<void> Connection::receive() {
  auto space = reader_.space();
  for (;;) {
    ssize_t n = ::recv(socket_.get(), space.data(), space.size(), 0);
    if (n > 0) {
      reader_.filled(static_cast<size_t>(n));
      return {};
    }
    if (n == 0) return gone("it closed it");
    if (errno != EINTR) return gone(errno);
  }
}

void Connection::dispatch(protocol::ServerMessage message) {
  if (auto* failed = std::get_if<protocol::Failed>(&message); failed && failed->id == 0) {
    return lose({failed->code, std::move(failed->message), failed->retry_after_ms});
  }
  auto found = calls_.find(request_of(message));
  if (found == calls_.end()) return;  // of a call that was given up
  Call& call = *found->second;
  if (call.mailbox_.size() == call.most_)
    return lose({FACET_MALFORMED, "the daemon sent more than was asked for"});
  call.mailbox_.push_back(std::move(message));
  if (call.waits_) call.wake_.notify_one();
}

void Connection::lose(facet::Error why) {
  if (lost_) return;
  lost_ = std::move(why);
  ::shutdown(socket_.get(),
             SHUT_RDWR);  // a thread that writes is not to wait for a daemon that reads no more
  for (auto& [id, call] : calls_) call->wake_.notify_one();
}

// Ends the lead: a thread that waits for a message takes it, if there is one. Under the mutex.
void Connection::hand_over() {
  led_ = false;
  for (auto& [id, call] : calls_) {
    if (call->waits_ && call->mailbox_.empty()) return call->wake_.notify_one();
  }
}

// ---- calls

Connection::Call::Call(Connection& connection, size_t mailbox, uint32_t requests)
    : connection_(connection),
      requests_(requests),
      id_([&] {
        std::lock_guard lock(connection.mutex_);
        return std::exchange(connection.next_id_, connection.next_id_ + requests);
      }()),
      most_(mailbox * requests) {
  std::lock_guard lock(connection.mutex_);
  for (uint32_t i = 0; i < requests; ++i) connection.calls_.emplace(id_ + i, this);
}

Connection::Call::~Call() {
  std::lock_guard lock(connection_.mutex_);
  for (uint32_t i = 0; i < requests_; ++i) connection_.calls_.erase(id_ + i);
}

facet::Result<void> Connection::Call::send(const protocol::ClientMessage& message) {
  auto sent = connection_.send(message);
  if (sent.ok() || sent.error().code != FACET_UNAVAILABLE) return sent;
  for (;;) {
    auto answer = next();
    if (!answer.ok()) return std::move(answer).error();
  }
}

facet::Result<protocol::ServerMessage> Connection::Call::next() {
  std::unique_lock lock(connection_.mutex_);
  bool leads = false;
  while (mailbox_.empty() && !connection_.lost_) {
    if (leads || !connection_.led_) {
      leads = connection_.led_ = true;
      connection_.lead(lock);
    } else {
      waits_ = true;
      wake_.wait(lock);
      waits_ = false;
    }
  }
  if (leads) connection_.hand_over();
  // What came before the loss counts.
  if (mailbox_.empty()) return *connection_.lost_;
  auto message = std::move(mailbox_.front());
  mailbox_.pop_front();
  return message;
}

}  // namespace facet::client
