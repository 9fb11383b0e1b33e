// The daemon: its sessions, its engine, its models and its books, from start to stop.
#pragma once

#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <memory>
#include <unordered_map>

#include "daemon/broker/config.h"
#include "daemon/broker/engine_link.h"
#include "daemon/broker/listener.h"
#include "daemon/broker/router.h"
#include "daemon/broker/session.h"
#include "daemon/broker/subordinate_uids.h"

namespace facet::broker {

// Everything happens on the thread that runs the loop.
class Broker : Session::Handler, EngineLink::Owner {
 public:
  Broker(asio::io_context& loop, Config& config, BoundSocket socket);

  // Serves until SIGTERM or SIGINT, and then until all is ended and the engine has stopped: the loop runs out
  // of work.
  void start();

 private:
  void take_connection(UniqueFd socket);
  void wait_for_signal();
  void sweep();
  void stop();
  bool ended() const;

  protocol::ServerHello server_hello() const override;
  Result<void> generate(Session& session, protocol::Generate&& request, size_t message_bytes) override;
  void cancel(EngineId request) override { router_.cancel(request); }
  void credit(EngineId request, uint32_t tokens) override { router_.credit(request, tokens); }
  protocol::Models models() override;
  void status(Session& session, protocol::RequestId id) override { router_.status(session, id); }
  void answer_status(Session& session, protocol::RequestId id);
  void session_written(Session& session) override { router_.session_written(session); }
  void session_ended(Session& session) override;

  void engine_ready() override { router_.engine_ready(); }
  void engine_said(link::FromEngine&& message) override { router_.engine_said(std::move(message)); }
  void engine_lost(const std::string& why, bool was_ready) override { router_.engine_lost(why, was_ready); }
  void engine_stopped() override;

  asio::io_context& loop_;
  const Micros started_;
  bool stopping_ = false;
  bool told_of_unknown_ = false;  // sandboxes
  SubordinateUids subordinate_uids_;
  Policy policy_;
  Models models_;
  EngineLink engine_;
  Router router_;
  Listener listener_;
  asio::signal_set signals_;
  asio::steady_timer sweep_timer_;
  std::unordered_map<const Session*, std::unique_ptr<Session>> sessions_;
};

}  // namespace facet::broker
