// The public socket: made at its place or inherited from systemd, and the connections that come in on it.
#pragma once

#include <sys/types.h>

#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>
#include <functional>
#include <string>

#include "daemon/base/result.h"
#include "daemon/base/unique_fd.h"

namespace facet::broker {

// A listening socket, bound to a path that is removed again with it (unless another has taken the place).
class BoundSocket {
 public:
  // Mode 0660; makes the last folder of the path if it is not there. A socket that nobody serves any more is
  // replaced. unavailable if someone does; invalid_argument for a path that is too long or is no socket; io.
  static Result<BoundSocket> bind(const std::string& path);
  // One that systemd bound, and whose place systemd keeps.
  static BoundSocket inherited(UniqueFd socket);

  BoundSocket(BoundSocket&&) = default;
  BoundSocket& operator=(BoundSocket&&) = delete;
  ~BoundSocket() { remove(); }

  int fd() const { return socket_.get(); }
  // Closes it and removes the path.
  void remove();

 private:
  BoundSocket(UniqueFd socket, std::string path) : socket_(std::move(socket)), path_(std::move(path)) {}

  UniqueFd socket_;
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

class Listener {
 public:
  // Each connection, close-on-exec and not blocking.
  using Take = std::function<void(UniqueFd)>;

  Listener(asio::io_context& loop, BoundSocket socket, Take take);

  void start() { wait(); }
  void stop();

 private:
  void wait();
  void accept_all();

  BoundSocket socket_;
  asio::local::stream_protocol::acceptor acceptor_;  // a duplicate, for the loop
  asio::steady_timer pause_;                         // when descriptors have run out
  Take take_;
};

}  // namespace facet::broker
