// The process at the other end of a client's socket, as the kernel knows it from the moment it connected.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "daemon/base/result.h"

namespace facet::broker {

struct Peer {
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t pid = 0;  // for logs: the number may have been given to another process since
  std::vector<gid_t> groups;

  bool is_in(gid_t group) const;
};

// io if the kernel does not say.
Result<Peer> peer_of(int socket);

// What an app calls itself, fit for a log line: control characters become '?'; "pid 12" if it is empty.
std::string app_name(const std::string& claimed, const Peer& peer);

}  // namespace facet::broker
