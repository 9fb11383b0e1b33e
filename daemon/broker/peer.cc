#include "daemon/broker/peer.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "daemon/broker/app_unit.h"
#include "daemon/broker/sandbox_traces.h"
#include "sdk/protocol/limits.h"
#include "sdk/protocol/utf8.h"

namespace facet::broker {
namespace {

Error io_error(const char* what) {
  return Error{FACET_IO, std::string(what) + " of a client: " + std::strerror(errno)};
}

Result<std::vector<gid_t>> groups_of(int socket) {
  std::vector<gid_t> groups(16);
  for (;;) {
    auto size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const int got = ::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size);
    groups.resize(size / sizeof(gid_t));  // on ERANGE the kernel says what it needs
    if (got == 0) return groups;
    if (errno != ERANGE) return io_error("SO_PEERGROUPS");
  }
}

}  // namespace

bool Peer::is_in(gid_t group) const {
  return gid == group || std::find(groups.begin(), groups.end(), group) != groups.end();
}

Result<Peer> peer_of(int socket) {
  ucred credentials = {};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return io_error("SO_PEERCRED");
  }
  FACET_TRY(auto groups, groups_of(socket));
  const SandboxTraces traces = traces_of(socket, credentials.pid);
  return Peer{{credentials.uid, sandbox_of(traces)},
              credentials.gid,
              credentials.pid,
              std::move(groups),
              app_of_cgroup(traces.cgroup.value_or(""))};
}

std::string name_of(const Identity& who) {
  return "user " + std::to_string(who.uid) + (who.is_sandboxed() ? " in " + who.sandbox : "");
}

std::string app_name(const std::string& claimed, const Peer& peer) {
  std::string name = protocol::to_utf8(peer.app.empty() ? claimed : peer.app, protocol::kMaxNameBytes);
  if (name.empty()) return "pid " + std::to_string(peer.pid);
  auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  std::replace_if(name.begin(), name.end(), is_control, '?');
  return name;
}

}  // namespace facet::broker
