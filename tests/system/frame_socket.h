// One end of a connection that carries frames, for tests: blocking, with a minute's patience.
#pragma once

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "daemon/base/unique_fd.h"
#include "sdk/protocol/framing.h"

namespace facet::test {

inline sockaddr_un address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  REQUIRE(path.size() < sizeof address.sun_path);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

class FrameSocket {
 public:
  explicit FrameSocket(size_t max_frame_bytes) : reader_(max_frame_bytes) {}

  void open(UniqueFd socket) {
    socket_ = std::move(socket);
    const timeval patience{60, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  }
  void close() { socket_.reset(); }

  // False if the other end is gone.
  bool try_send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) return false;
      bytes = bytes.subspan(static_cast<size_t>(sent));
    }
    return true;
  }
  void send(std::span<const std::byte> bytes) { REQUIRE(try_send(bytes)); }

  // The next frame; empty at the connection's end.
  protocol::Frame receive() {
    for (;;) {
      auto frame = reader_.next();
      REQUIRE(frame.ok());
      if (!frame->empty()) return *frame;
      auto space = reader_.space();
      const ssize_t got = ::recv(socket_.get(), space.data(), space.size(), 0);
      REQUIRE_MESSAGE((got >= 0 || errno == ECONNRESET), "no message in time");
      if (got <= 0) return {};
      reader_.filled(static_cast<size_t>(got));
    }
  }

 private:
  UniqueFd socket_;
  protocol::FrameReader reader_;
};

}  // namespace facet::test
