// The client's end of a Unix stream socket: connecting with a deadline, and waiting for it.
#pragma once

#include <chrono>
#include <string>
#include <utility>

#include "daemon/base/result.h"

namespace facet::client {

using Deadline = std::chrono::steady_clock::time_point;

// Owns a descriptor.
class Socket {
 public:
  explicit Socket(int descriptor = -1) : descriptor_(descriptor) {}
  Socket(Socket&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket();

  int get() const { return descriptor_; }

 private:
  int descriptor_;
};

// Where the daemon listens, if `given` is empty: see ConnectOptions::socket.
std::string socket_path(const std::string& given);

// The socket blocks. unavailable, denied, timeout, invalid_argument (a path that is too long), io.
facet::Result<Socket> connect_socket(const std::string& path, Deadline deadline);

// Waits until the socket is ready for `events` of poll(). Whether it is, before the deadline.
bool wait_ready(const Socket& socket, short events, Deadline deadline);

}  // namespace facet::client
