// Reads what the kernel shows of the process at the other end of a socket.
#pragma once

#include <sys/types.h>

#include "daemon/broker/sandbox.h"

namespace facet::broker {

// `pid`: as SO_PEERCRED has it. The process is held by a descriptor while it is read, so that its number is
// not another's: the kernel's own of the peer (SO_PEERPIDFD, Linux 6.5), or before that one of the number,
// which would have to come round between the peer's connect and this call to be another's. Nothing but the
// label of one that has ended.
SandboxTraces traces_of(int socket, pid_t pid);

}  // namespace facet::broker
