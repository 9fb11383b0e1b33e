// The broker's end of the link, and the life of the engine behind it.
//
// The engine is started (or connected to, where systemd starts it) at once, and again after it was lost:
// after a wait that doubles while it does not hold. It is *ready* once hellos were exchanged. It is *lost*
// when it ends, closes the link, takes too long for its hello, or says what is no message; then nothing is
// left of it. What it says beyond that is for the owner to judge.
#pragma once

#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/broker/backoff.h"
#include "daemon/broker/channel.h"
#include "daemon/broker/engine_process.h"
#include "daemon/link/codec.h"

namespace facet::broker {

// How to get an engine.
struct EngineLaunch {
  std::string socket;  // connect here; empty: start the program
  std::string program;
  std::vector<std::string> arguments;
  link::BrokerHello hello;  // with the engine's settings
  Micros hello_timeout = 60'000'000;
};

class EngineLink : Channel::Owner {
 public:
  // Called from the loop. None may destroy the link.
  class Owner {
   public:
    virtual void engine_ready() = 0;
    virtual void engine_said(link::FromEngine&& message) = 0;
    // It is started again by itself. `was_ready`: whether engine_ready() came before.
    virtual void engine_lost(const std::string& why, bool was_ready) = 0;
    // After stop(), once nothing is left of it.
    virtual void engine_stopped() = 0;

   protected:
    ~Owner() = default;
  };

  EngineLink(asio::io_context& loop, EngineLaunch launch, Owner& owner);

  void start();
  // The engine shall end; it is killed if it takes too long.
  void stop();

  bool ready() const { return state_ == State::kReady; }
  bool stopped() const { return state_ == State::kStopped; }
  // Only while ready. The codec's error for what cannot be said: it is not sent.
  Result<void> send(const link::ToEngine& message);
  // The engine broke the protocol in what it said: it is lost.
  void reject(const std::string& why);

  // "running", "starting", "waiting" or "stopped", as Status::engine has it.
  const char* state_name() const;
  uint32_t starts() const { return starts_; }
  // Of the engine that is ready or was last.
  const link::EngineHello& hello() const { return hello_; }

 private:
  enum class State {
    kStopped,
    kStarting,  // no hello yet
    kReady,
    kEnding,   // lost, and not all gone yet
    kWaiting,  // to start it again
    kStopping,
  };

  Result<UniqueFd> launch();
  Result<UniqueFd> start_process();
  Result<UniqueFd> connect();
  void watch_process();
  void process_ended();
  void lose(const std::string& why);
  void finish_if_gone();
  void set_timer(Micros wait);
  void timer_fired();

  void on_frame(protocol::Frame frame) override;
  void on_partial(size_t) override {}
  void on_unreadable(const Error& why) override { reject(why.message); }
  void on_written() override {}
  void on_ended(const Error& why) override;
  void take_hello(const link::FromEngine& message);

  asio::io_context& loop_;
  const EngineLaunch launch_;
  Owner& owner_;

  State state_ = State::kStopped;
  uint32_t starts_ = 0;
  Backoff backoff_;
  std::optional<Micros> ready_since_;
  std::string lost_why_;
  link::EngineHello hello_;

  std::unique_ptr<Channel> channel_;
  std::optional<EngineProcess> process_;
  asio::posix::stream_descriptor process_watch_;
  asio::steady_timer timer_;
  uint64_t timer_turn_ = 0;  // only the latest wait counts
  link::Bytes scratch_;
};

}  // namespace facet::broker
