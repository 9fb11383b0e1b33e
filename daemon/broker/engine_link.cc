#include "daemon/broker/engine_link.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "daemon/base/log.h"

namespace facet::broker {
namespace {

// For an engine that has closed the link, or shall stop, to end by itself.
constexpr Micros kEndTimeout = 3'000'000;

Error io_error(const std::string& what) {
  return Error{FACET_IO, what + ": " + std::strerror(errno)};
}

}  // namespace

EngineLink::EngineLink(asio::io_context& loop, EngineLaunch launch, Owner& owner)
    : loop_(loop), launch_(std::move(launch)), owner_(owner), process_watch_(loop), timer_(loop) {}

const char* EngineLink::state_name() const {
  switch (state_) {
    case State::kStopped:
      return "stopped";
    case State::kStarting:
      return "starting";
    case State::kReady:
      return "running";
    case State::kEnding:
    case State::kWaiting:
    case State::kStopping:
      return "waiting";
  }
  return "stopped";
}

// ---- starting

void EngineLink::start() {
  state_ = State::kStarting;
  ++starts_;
  ready_since_.reset();
  auto socket = launch();
  if (!socket) return lose(socket.error().message);
  channel_.reset(new Channel(loop_, std::move(*socket), link::kMaxMessageBytes, *this));
  channel_->start();
  set_timer(launch_.hello_timeout);
  scratch_.clear();
  auto hello = link::encode(link::ToEngine(launch_.hello), scratch_);
  if (!hello) return lose(hello.error().message);
  channel_->send(scratch_);
}

Result<UniqueFd> EngineLink::launch() {
  return launch_.socket.empty() ? start_process() : connect();
}

Result<UniqueFd> EngineLink::start_process() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return io_error("socketpair");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  FACET_TRY(auto process, EngineProcess::start(launch_.program, launch_.arguments, std::move(theirs)));
  process_.emplace(std::move(process));
  log::info("engine: started " + launch_.program + " as process " + std::to_string(process_->pid()));
  watch_process();
  return ours;
}

Result<UniqueFd> EngineLink::connect() {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (launch_.socket.size() >= sizeof address.sun_path) {
    return Error{FACET_INVALID_ARGUMENT, "the engine's socket has too long a path: " + launch_.socket};
  }
  std::memcpy(address.sun_path, launch_.socket.data(), launch_.socket.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return io_error("socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return io_error("cannot connect to " + launch_.socket);
  }
  return socket;
}

void EngineLink::watch_process() {
  process_watch_.assign(::fcntl(process_->ended_fd(), F_DUPFD_CLOEXEC, 0));
  process_watch_.async_wait(asio::posix::descriptor_base::wait_read, [this](const asio::error_code& failed) {
    if (!failed) process_ended();
  });
}

// ---- talking

Result<void> EngineLink::send(const link::ToEngine& message) {
  scratch_.clear();
  FACET_CHECK(link::encode(message, scratch_));
  channel_->send(scratch_);
  return {};
}

void EngineLink::on_frame(protocol::Frame frame) {
  auto message = link::decode_from_engine(frame);
  if (!message) return reject(message.error().message);
  if (state_ == State::kStarting) return take_hello(*message);
  if (std::holds_alternative<link::EngineHello>(*message)) return reject("its hello came twice");
  if (state_ == State::kReady) owner_.engine_said(std::move(*message));
}

void EngineLink::take_hello(const link::FromEngine& message) {
  const auto* hello = std::get_if<link::EngineHello>(&message);
  if (!hello) return reject("its first message is no hello");
  if (hello->version != link::kVersion) {
    return reject("it speaks version " + std::to_string(hello->version) + " of the link, this broker " +
                  std::to_string(link::kVersion));
  }
  hello_ = *hello;
  state_ = State::kReady;
  ready_since_ = now_micros();
  ++timer_turn_;
  timer_.cancel();
  log::info("engine: ready, " + hello_.engine + ", backend " + hello_.backend + " (" + hello_.numerics + ")");
  owner_.engine_ready();
}

void EngineLink::reject(const std::string& why) {
  if (process_) process_->kill();
  lose("it broke the protocol: " + why);
}

// ---- ending

void EngineLink::stop() {
  if (state_ == State::kStopped || state_ == State::kWaiting) {
    ++timer_turn_;
    timer_.cancel();
  }
  state_ = State::kStopping;
  if (channel_) channel_->close();
  if (channel_ || process_) set_timer(kEndTimeout);
  finish_if_gone();
}

void EngineLink::on_ended(const Error& why) {
  channel_.reset();
  if (state_ == State::kStarting || state_ == State::kReady) {
    lose(why.code == FACET_UNAVAILABLE ? "it ended" : why.message);
  }
  finish_if_gone();
}

void EngineLink::process_ended() {
  const std::string how = process_->reap();
  process_watch_.close();
  process_.reset();
  if (state_ == State::kStarting || state_ == State::kReady) lose("it ended");
  if (state_ == State::kEnding && lost_why_ == "it ended") lost_why_ += " (" + how + ")";
  finish_if_gone();
}

// The cause is noted; the loss is told when nothing is left.
void EngineLink::lose(const std::string& why) {
  if (state_ != State::kStarting && state_ != State::kReady) return;
  state_ = State::kEnding;
  lost_why_ = why;
  if (channel_) channel_->close();
  set_timer(kEndTimeout);
  finish_if_gone();
}

void EngineLink::finish_if_gone() {
  if (channel_ || process_) return;
  if (state_ == State::kStopping) {
    ++timer_turn_;
    timer_.cancel();
    state_ = State::kStopped;
    return owner_.engine_stopped();
  }
  if (state_ != State::kEnding) return;
  const bool was_ready = ready_since_.has_value();
  const Micros wait = backoff_.next(was_ready ? now_micros() - *ready_since_ : 0);
  state_ = State::kWaiting;
  set_timer(wait);
  log::error("engine: lost, " + lost_why_ + "; the next start is in " + std::to_string(wait / 1000) + " ms");
  owner_.engine_lost(lost_why_, was_ready);
}

void EngineLink::set_timer(Micros wait) {
  timer_.expires_after(std::chrono::microseconds(wait));
  timer_.async_wait([this, turn = ++timer_turn_](const asio::error_code& failed) {
    if (!failed && turn == timer_turn_) timer_fired();
  });
}

void EngineLink::timer_fired() {
  switch (state_) {
    case State::kStarting:
      return reject("no hello came in time");
    case State::kEnding:
    case State::kStopping:
      log::warning("engine: it does not end, so it is killed");
      if (process_) process_->kill();
      return;
    case State::kWaiting:
      return start();
    case State::kStopped:
    case State::kReady:
      return;
  }
}

}  // namespace facet::broker
