// The open requests of all clients, under the ids that the engine knows them by.
#pragma once

#include <unistd.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "daemon/broker/flow.h"
#include "daemon/broker/peer.h"
#include "daemon/link/messages.h"
#include "sdk/protocol/limits.h"

namespace facet::broker {

class Session;
using EngineId = uint64_t;

struct Request {
  Session* session =
      nullptr;  // nullptr once it has ended: the engine has the request, and was told to cancel
  Identity who;
  protocol::RequestId client_id = 0;
  uint64_t bytes = 0;  // charged for it
  Flow flow{0};
  std::optional<link::Start> held;  // until an engine is ready to take it
  protocol::RequestStatus status;
  bool cancelled = false;
};

// In the order of their arrival, since engine ids ascend and are never used twice.
class Requests {
 public:
  EngineId add(Request request) {
    open_.emplace_hint(open_.end(), next_, std::move(request));
    return next_++;
  }
  // nullptr if there is none: perhaps it has ended already.
  Request* find(EngineId id) {
    const auto found = open_.find(id);
    return found == open_.end() ? nullptr : &found->second;
  }
  void remove(EngineId id) { open_.erase(id); }
  // Those that a peer may see, the oldest first, as many as a status has: those of its user, or all, for root
  // and the daemon's own user; but in a sandbox only those of its user from there.
  std::vector<EngineId> seen_by(const Identity& peer) const {
    const bool sees_all = peer.uid == 0 || peer.uid == ::geteuid();
    const auto sees = [&](const Identity& other) {
      return peer.is_sandboxed() ? other == peer : sees_all || other.uid == peer.uid;
    };
    std::vector<EngineId> ids;
    for (const auto& [id, request] : open_) {
      if (ids.size() == protocol::kMaxRequestStatuses) break;
      if (sees(request.who)) ids.push_back(id);
    }
    return ids;
  }

  const std::map<EngineId, Request>& all() const { return open_; }
  std::map<EngineId, Request>& all() { return open_; }

 private:
  std::map<EngineId, Request> open_;
  EngineId next_ = 1;
};

}  // namespace facet::broker
