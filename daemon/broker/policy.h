// Who may ask for what, and have how much. Pure bookkeeping: no socket, no clock.
//
// A *grant* says which classes of requests a user may ask for, and the weight of their share of the engine.
// It is the user's own, else that of the first listed group that they are in, else everybody's. Everything
// that a client makes the broker or the engine hold is charged to its connection and to its user (the uid
// that the kernel names) until it is gone. Bytes are those of requests, of the answers that may wait for a
// slow reader, and of messages that have come in part.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <unordered_map>
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

struct Grant {
  std::vector<std::string> classes = {"interactive", "standard", "background"};  // by name
  double weight = 1;
};

struct Grants {
  Grant everybody;
  std::map<uid_t, Grant> users;
  std::deque<std::pair<gid_t, Grant>> groups;  // the first that fits counts

  const Grant& of(const Peer& peer) const;
};

// What one connection, or all of one user, hold now.
struct Holding {
  uint32_t connections = 0;
  uint32_t requests = 0;
  uint64_t bytes = 0;
};

class Policy {
 public:
  explicit Policy(const PolicyLimits& limits, Grants grants = {})
      : limits_(limits), grants_(std::move(grants)) {}

  const PolicyLimits& limits() const { return limits_; }

  // The grant by which `peer` may ask for a request of this class. denied names both.
  Result<const Grant*> grant_for(const Peer& peer, protocol::Priority priority) const;

  // Each admit is exhausted, naming the limit, or charges what its counterpart gives back.
  Result<void> admit_connection(uid_t user);
  void connection_ended(uid_t user);

  // So many requests, each of so many bytes.
  Result<void> admit_requests(uid_t user, Holding& connection, uint32_t count, uint64_t bytes);
  // One of them. `connection`: nullptr if it ended before.
  void request_ended(uid_t user, Holding* connection, uint64_t bytes);

  // A connection's unfinished input takes `now` bytes instead of `before`. exhausted: then nothing
  // changes.
  Result<void> recharge(uid_t user, Holding& connection, uint64_t before, uint64_t now);

  uint32_t connections() const { return connections_; }
  // What a request of so many bytes, which reports so many alternatives a token, may make the broker hold.
  static uint64_t bytes_of_request(uint64_t message_bytes, uint32_t alternatives);

 private:
  Result<void> check_bytes(uid_t user, const Holding& connection, uint64_t more) const;
  void forget_if_idle(uid_t user);

  const PolicyLimits limits_;
  const Grants grants_;
  std::unordered_map<uid_t, Holding> users_;
  uint32_t connections_ = 0;
};

}  // namespace facet::broker
