// One client's connection: it speaks the public protocol and keeps its rules.
//
// First the hellos; then requests, each under an id that the client chose. What a message asks for is the
// router's matter. A client that breaks the protocol gets `failed` for request 0 and is closed; a request
// that is well-formed but cannot be gets `failed` under its own id.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "daemon/base/clock.h"
#include "daemon/broker/channel.h"
#include "daemon/broker/peer.h"
#include "daemon/broker/policy.h"
#include "daemon/broker/requests.h"
#include "sdk/protocol/codec.h"

namespace facet::broker {

class Session final : Channel::Owner {
 public:
  // Who answers. Called from the loop; a handler may end the session, but not destroy it, except in
  // session_ended.
  class Handler {
   public:
    // The daemon's hello: name, features and limits.
    virtual protocol::ServerHello server_hello() const = 0;
    virtual Result<void> generate(Session& session, protocol::Generate&& request, size_t message_bytes) = 0;
    virtual void cancel(EngineId request) = 0;
    virtual void credit(EngineId request, uint32_t tokens) = 0;
    virtual protocol::Models models() = 0;
    // Sends the status, now or later.
    virtual void status(Session& session, protocol::RequestId id) = 0;
    // The client took all that it was sent.
    virtual void session_written(Session& session) = 0;
    // The last call: the session may be destroyed in it.
    virtual void session_ended(Session& session) = 0;

   protected:
    ~Handler() = default;
  };

  Session(asio::io_context& loop, UniqueFd socket, const Peer& peer, Policy& policy, Handler& handler,
          Micros now);

  void start() { channel_.start(); }
  // Sends what remains, then closes. `fail` says why first.
  void finish() { channel_.finish(); }
  void fail(facet_status code, const std::string& message);
  void close() { channel_.close(); }

  void send(const protocol::ServerMessage& message);
  // The client takes what it is sent as fast as it comes.
  bool keeps_up() const { return channel_.unsent() == 0; }

  const Peer& peer() const { return peer_; }
  const std::string& app() const { return app_; }
  Holding& holding() { return holding_; }
  // Client's id -> engine's, of the open requests. The router keeps it.
  std::map<protocol::RequestId, EngineId>& requests() { return requests_; }

  // Whether it has been without a hello, or closing, for too long.
  bool overdue(Micros now) const;

 private:
  void take(const protocol::ClientHello& hello);
  void take(protocol::ListModels message);
  void take(protocol::Generate& message, size_t message_bytes);
  void take(protocol::Cancel message);
  void take(protocol::Credit message);
  void take(protocol::GetStatus message);
  void refuse(protocol::Frame frame, const Error& why);
  bool is_usable(protocol::RequestId id);
  std::string log_name() const;

  void on_frame(protocol::Frame frame) override;
  void on_partial(size_t bytes) override;
  void on_unreadable(const Error& why) override;
  void on_written() override;
  void on_ended(const Error& why) override;

  Channel channel_;
  const Peer peer_;
  Policy& policy_;
  Handler& handler_;
  std::string app_;
  bool greeted_ = false;
  bool finishing_ = false;
  Micros deadline_;  // for the hello, or for the end once it is finishing
  Holding holding_;
  uint64_t partial_ = 0;  // bytes charged for a message that has come in part
  std::map<protocol::RequestId, EngineId> requests_;
  protocol::Bytes scratch_;
};

}  // namespace facet::broker
