// The process at the other end of a client's socket, as the kernel knows it from the moment it connected.
//
// Identity  whom something is charged to and kept apart for: a user, and the sandbox that its process is in.
#pragma once

#include <sys/types.h>

#include <compare>
#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace facet::broker {

struct Identity {
  uid_t uid = 0;
  std::string sandbox = {};  // its name, see sandbox.h; empty: in none

  bool is_sandboxed() const { return !sandbox.empty(); }
  auto operator<=>(const Identity&) const = default;
};

struct Peer : Identity {
  gid_t gid = 0;
  pid_t pid = 0;  // for logs: the number may have been given to another process since
  std::vector<gid_t> groups = {};
  std::string app = {};  // that its unit names, any bytes, see app_unit.h; empty: none

  bool is_in(gid_t group) const;
};

// io if the kernel does not say who it is. In the sandbox "unknown" is who cannot be told to be in none: what
// the kernel shows of the process does not say, or it ended before it was looked at. Reads a few files below
// /proc. None makes facetd wait for a process, but for one in a root that is a FUSE file system which facetd
// may look into: of the user whose own facetd it is, or of anybody if facetd runs as root.
Result<Peer> peer_of(int socket);

// "user 1000", "user 1000 in flatpak:org.example.App".
std::string name_of(const Identity& who);

// What an app is called, fit for a log line and the protocol (UTF-8, at most kMaxNameBytes): as its unit
// says, else as it `claimed`; "pid 12" if both are empty. Control characters become '?'.
std::string app_name(const std::string& claimed, const Peer& peer);

}  // namespace facet::broker
