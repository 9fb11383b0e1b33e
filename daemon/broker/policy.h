// Who may ask for what, and have how much. Pure bookkeeping: no socket, no clock.
//
// Grant    which classes of requests a user may ask for, the weight of their share of the engine, and quotas.
//          It is the user's own, else that of the first listed group that they are in, else everybody's.
// Bounds   what a peer in a sandbox has of that: the classes that both allow, and quotas of the sandbox
//          within those of its user. They are the sandbox's own, else those of all sandboxes. Who is in an
//          unknown one may be in any: without bounds of its own, "unknown" has what all others leave.
//          Bounds never give, since a process outside of any sandbox can look like one inside (sandbox.h).
// Charged  is everything that a client makes the broker or the engine hold until it is gone: to its
//          connection, its user (the uid that the kernel names), and its user's sandbox. Bytes are those of
//          requests, of the answers that may wait for a slow reader, and of messages that have come in part.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/broker/peer.h"
#include "sdk/protocol/messages.h"

namespace facet::broker {

struct PolicyLimits {
  uint32_t connections = 4096;
  uint32_t user_connections = 1024;
  uint32_t open_requests = 64;  // of a connection
  uint32_t user_requests = 512;
  uint64_t connection_bytes = 32 << 20;
  uint64_t user_bytes = 256 << 20;
};

// At most, at once. 0: of a user as PolicyLimits says, of a sandbox as much as its user.
struct Quota {
  uint32_t connections = 0;
  uint32_t requests = 0;
  uint64_t bytes = 0;
};

struct Bounds {
  std::vector<std::string> classes = {"interactive", "standard", "background"};  // by name
  Quota quota = {};
};

struct Grant : Bounds {
  double weight = 1;
};

struct Grants {
  Grant everybody;
  std::map<uid_t, Grant> users;
  std::deque<std::pair<gid_t, Grant>> groups;  // the first that fits counts
  Bounds sandboxed;
  std::map<std::string, Bounds> sandboxes;  // by name, see sandbox.h

  const Grant& of(const Peer& peer) const;
  Bounds bounds_of(const std::string& sandbox) const;
};

// What one connection, all of one user, or all of one user's sandbox hold now.
struct Holding {
  uint32_t connections = 0;
  uint32_t requests = 0;
  uint64_t bytes = 0;

  bool is_empty() const { return connections == 0 && requests == 0 && bytes == 0; }
};

class Policy {
 public:
  explicit Policy(const PolicyLimits& limits, Grants grants = {})
      : limits_(limits), grants_(std::move(grants)) {}

  const PolicyLimits& limits() const { return limits_; }

  // The grant by which `peer` may ask for a request of this class. denied names both.
  Result<const Grant*> grant_for(const Peer& peer, protocol::Priority priority) const;

  // Each admit is exhausted, naming the limit, or charges what its counterpart gives back.
  Result<void> admit_connection(const Peer& peer);
  void connection_ended(const Identity& who);

  // So many requests, each of so many bytes.
  Result<void> admit_requests(const Peer& peer, Holding& connection, uint32_t count, uint64_t bytes);
  // One of them. `connection`: nullptr if it ended before.
  void request_ended(const Identity& who, Holding* connection, uint64_t bytes);

  // A connection's unfinished input takes `now` bytes instead of `before`. exhausted: then nothing
  // changes.
  Result<void> recharge(const Peer& peer, Holding& connection, uint64_t before, uint64_t now);

  uint32_t connections() const { return connections_; }
  // What a request of so many bytes, which reports so many alternatives a token, may make the broker hold.
  static uint64_t bytes_of_request(uint64_t message_bytes, uint32_t alternatives);

 private:
  // Where something is charged beside the connection, and what it may come to there.
  struct Account {
    Identity whose;
    Quota quota;  // 0: no bound
  };
  std::vector<Account> accounts_of(const Peer& peer) const;
  Holding held(const Identity& whose) const;
  template <typename Change>
  void charge(const Identity& who, Change change);
  Result<void> check_bytes(const Peer& peer, const Holding& connection, uint64_t more) const;

  const PolicyLimits limits_;
  const Grants grants_;
  std::map<Identity, Holding> books_;  // of a user without a sandbox: all that its sandboxes hold, too
  uint32_t connections_ = 0;
};

}  // namespace facet::broker
