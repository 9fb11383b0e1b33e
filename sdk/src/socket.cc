#include "sdk/src/socket.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <thread>

namespace facet::client {
namespace {

constexpr char kSystemSocket[] = "/run/facet/facet.sock";

std::string errno_text(int error) {
  return std::generic_category().message(error);
}

facet::Error refused(const std::string& path, int error) {
  switch (error) {
    case ENOENT:
    case ECONNREFUSED:
    case ENOTDIR:
      return {FACET_UNAVAILABLE, "no daemon listens on " + path + ": " + errno_text(error)};
    case EACCES:
    case EPERM:
      return {FACET_DENIED, "this user may not use " + path + ": " + errno_text(error)};
    default:
      return {FACET_IO, path + ": " + errno_text(error)};
  }
}

}  // namespace

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Socket::~Socket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

std::string socket_path(const std::string& given) {
  if (!given.empty()) return given;
  if (const char* named = std::getenv("FACET_SOCKET"); named && *named) return named;
  if (const char* folder = std::getenv("XDG_RUNTIME_DIR"); folder && *folder) {
    std::string path = std::string(folder) + "/facet/facet.sock";
    if (::access(path.c_str(), F_OK) == 0) return path;
  }
  return kSystemSocket;
}

facet::Result<Socket> connect_socket(const std::string& path, Deadline deadline) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path || path.find('\0') != std::string::npos) {
    return facet::Error{FACET_INVALID_ARGUMENT, "no path of a socket: " + path};
  }
  std::memcpy(address.sun_path, path.data(), path.size());

  Socket socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (socket.get() < 0) return facet::Error{FACET_IO, "socket: " + errno_text(errno)};
  while (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EINTR) continue;
    // EAGAIN: more clients wait to be accepted than the daemon's socket holds.
    if (errno != EAGAIN) return refused(path, errno);
    if (std::chrono::steady_clock::now() >= deadline) {
      return facet::Error{FACET_TIMEOUT, "the daemon on " + path + " accepts no client"};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  if (::fcntl(socket.get(), F_SETFL, 0) != 0) return facet::Error{FACET_IO, "fcntl: " + errno_text(errno)};
  return socket;
}

bool wait_ready(const Socket& socket, short events, Deadline deadline) {
  for (;;) {
    auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd entry = {socket.get(), events, 0};
    int ready = ::poll(&entry, 1, static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

}  // namespace facet::client
