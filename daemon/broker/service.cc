#include "daemon/broker/service.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>

namespace facet::broker {

Result<std::optional<UniqueFd>> inherited_socket() {
  const int count = ::sd_listen_fds(1);
  if (count <= 0) return std::optional<UniqueFd>();
  if (count != 1 || ::sd_is_socket_unix(SD_LISTEN_FDS_START, SOCK_STREAM, 1, nullptr, 0) <= 0) {
    return Error{FACET_INVALID_ARGUMENT, "socket activation needs one listening Unix stream socket"};
  }
  return std::optional<UniqueFd>(SD_LISTEN_FDS_START);
}

void notify_ready() {
  ::sd_notify(0, "READY=1");
}

void notify_stopping() {
  ::sd_notify(0, "STOPPING=1");
}

}  // namespace facet::broker
