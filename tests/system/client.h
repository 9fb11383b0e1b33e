// A client of the public protocol for tests: one blocking socket, no SDK.
#pragma once

#include <string>

#include "sdk/protocol/codec.h"
#include "tests/system/frame_socket.h"

namespace facet::test {

class Client {
 public:
  // False if nobody listens at `path`.
  bool connect(const std::string& path) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_of(path);
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
      return false;
    frames_.open(std::move(socket));
    return true;
  }

  void send_bytes(const protocol::Bytes& bytes) { frames_.send(bytes); }
  // Where the daemon may close before it has read all.
  void try_send_bytes(const protocol::Bytes& bytes) { frames_.try_send(bytes); }
  void send(const protocol::ClientMessage& message) {
    protocol::Bytes bytes;
    REQUIRE(protocol::encode(message, bytes).ok());
    send_bytes(bytes);
  }

  // An empty hello stands for the end of the connection.
  protocol::ServerMessage receive() {
    const auto frame = frames_.receive();
    if (frame.empty()) return protocol::ServerHello();
    auto message = protocol::decode_server(frame);
    REQUIRE_MESSAGE(message.ok(), message.error().message);
    return std::move(*message);
  }
  template <typename Struct>
  Struct receive_as() {
    auto message = receive();
    auto* failed = std::get_if<protocol::Failed>(&message);
    REQUIRE_MESSAGE(std::holds_alternative<Struct>(message),
                    "a message of kind " << message.index() << " " << (failed ? failed->message : ""));
    return std::get<Struct>(message);
  }

  protocol::ServerHello greet(const std::string& app) {
    send(protocol::ClientHello{1, 1, app});
    hello_ = receive_as<protocol::ServerHello>();
    return hello_;
  }
  protocol::Status status() {
    send(protocol::GetStatus{1000});
    return receive_as<protocol::Status>();
  }
  const protocol::ServerHello& greeted() const { return hello_; }
  void close() { frames_.close(); }

 private:
  protocol::ServerHello hello_;
  FrameSocket frames_{protocol::kMaxMessageBytes};
};

}  // namespace facet::test
