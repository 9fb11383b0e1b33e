#include "daemon/broker/listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "daemon/base/log.h"

namespace facet::broker {
namespace {

constexpr int kBacklog = 1024;
constexpr int kAcceptsAtOnce = 8;
constexpr auto kPause = std::chrono::milliseconds(100);

Error io_error(const std::string& what) {
  return Error{FACET_IO, what + ": " + std::strerror(errno)};
}

UniqueFd new_socket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error{FACET_INVALID_ARGUMENT, "the socket's path must have 1 to " +
                                             std::to_string(sizeof address.sun_path - 1) + " bytes: " + path};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Removes a socket that nobody serves.
Result<void> clear_place(const std::string& path, const sockaddr_un& address) {
  struct stat there = {};
  if (::lstat(path.c_str(), &there) != 0) return {};
  if (!S_ISSOCK(there.st_mode)) return Error{FACET_INVALID_ARGUMENT, path + " is there and is no socket"};
  UniqueFd probe = new_socket();
  const int connected = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (connected == 0 || errno == EAGAIN) {
    return Error{FACET_UNAVAILABLE, "another daemon serves " + path + " already"};
  }
  if (errno != ECONNREFUSED) return io_error(path);
  if (::unlink(path.c_str()) != 0) return io_error("cannot remove " + path);
  log::info("replaced the socket that another daemon left at " + path);
  return {};
}

}  // namespace

Result<BoundSocket> BoundSocket::bind(const std::string& path) {
  FACET_TRY(const auto address, address_of(path));
  const std::string folder = std::filesystem::path(path).parent_path().string();
  if (!folder.empty() && ::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) return io_error(folder);
  FACET_CHECK(clear_place(path, address));

  UniqueFd socket = new_socket();
  if (!socket) return io_error("socket");
  // Nobody can connect before listen(), so the mode is right from the first connection on.
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return io_error("cannot bind " + path);
  }
  BoundSocket bound(std::move(socket), path);
  struct stat there = {};
  if (::lstat(path.c_str(), &there) != 0) return io_error(path);
  bound.device_ = there.st_dev;
  bound.inode_ = there.st_ino;
  if (::chmod(path.c_str(), 0660) != 0) return io_error("cannot set the mode of " + path);
  if (::listen(bound.fd(), kBacklog) != 0) return io_error("listen");
  return bound;
}

BoundSocket BoundSocket::inherited(UniqueFd socket) {
  ::fcntl(socket.get(), F_SETFL, ::fcntl(socket.get(), F_GETFL) | O_NONBLOCK);
  return BoundSocket(std::move(socket), {});
}

void BoundSocket::remove() {
  if (!socket_) return;
  socket_.reset();
  struct stat there = {};
  if (path_.empty() || ::lstat(path_.c_str(), &there) != 0) return;
  if (there.st_dev == device_ && there.st_ino == inode_) ::unlink(path_.c_str());
}

Listener::Listener(asio::io_context& loop, BoundSocket socket, Take take)
    : socket_(std::move(socket)), acceptor_(loop), pause_(loop), take_(std::move(take)) {
  acceptor_.assign(asio::local::stream_protocol(), ::fcntl(socket_.fd(), F_DUPFD_CLOEXEC, 0));
}

void Listener::stop() {
  asio::error_code ignored;
  acceptor_.close(ignored);
  pause_.cancel();
  socket_.remove();
}

void Listener::wait() {
  acceptor_.async_wait(asio::socket_base::wait_read, [this](const asio::error_code& failed) {
    if (!failed && acceptor_.is_open()) accept_all();
  });
}

void Listener::accept_all() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    UniqueFd client(::accept4(acceptor_.native_handle(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client) {
      take_(std::move(client));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      log::warning(std::string("cannot accept connections now: ") + std::strerror(errno));
      pause_.expires_after(kPause);
      pause_.async_wait([this](const asio::error_code& failed) {
        if (!failed && acceptor_.is_open()) wait();
      });
      return;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      break;
    }
  }
  wait();
}

}  // namespace facet::broker
