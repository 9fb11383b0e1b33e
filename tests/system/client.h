// A client of the public protocol for tests: one blocking socket, no SDK.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <string>

#include "daemon/base/unique_fd.h"
#include "sdk/protocol/codec.h"

namespace facet::test {

class Client {
 public:
  // False if nobody listens at `path`.
  bool connect(const std::string& path) {
    socket_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{60, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    return ::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }

  void send_bytes(const protocol::Bytes& bytes) {
    REQUIRE(::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  void send(const protocol::ClientMessage& message) {
    protocol::Bytes bytes;
    REQUIRE(protocol::encode(message, bytes).ok());
    send_bytes(bytes);
  }

  // An empty hello stands for the end of the connection.
  protocol::ServerMessage receive() {
    for (;;) {
      auto frame = reader_.next();
      REQUIRE(frame.ok());
      if (!frame->empty()) {
        auto message = protocol::decode_server(*frame);
        REQUIRE_MESSAGE(message.ok(), message.error().message);
        return std::move(*message);
      }
      auto space = reader_.space();
      const ssize_t got = ::recv(socket_.get(), space.data(), space.size(), 0);
      REQUIRE_MESSAGE((got >= 0 || errno == ECONNRESET), "no answer in time");
      if (got <= 0) return protocol::ServerHello();
      reader_.filled(static_cast<size_t>(got));
    }
  }
  template <typename Struct>
  Struct receive_as() {
    auto message = receive();
    REQUIRE_MESSAGE(std::holds_alternative<Struct>(message), "a message of kind " << message.index());
    return std::get<Struct>(message);
  }

  protocol::ServerHello greet(const std::string& app) {
    send(protocol::ClientHello{1, 1, app});
    return receive_as<protocol::ServerHello>();
  }
  protocol::Status status() {
    send(protocol::GetStatus{1000});
    return receive_as<protocol::Status>();
  }
  void close() { socket_.reset(); }

 private:
  UniqueFd socket_;
  protocol::FrameReader reader_;
};

}  // namespace facet::test
