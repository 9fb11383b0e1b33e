// The open requests of all clients, under the ids that the engine knows them by.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>

#include "daemon/broker/flow.h"
#include "daemon/link/messages.h"

namespace facet::broker {

class Session;
using EngineId = uint64_t;

struct Request {
  Session* session =
      nullptr;  // nullptr once it has ended: the engine has the request, and was told to cancel
  uid_t user = 0;
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

  const std::map<EngineId, Request>& all() const { return open_; }
  std::map<EngineId, Request>& all() { return open_; }

 private:
  std::map<EngineId, Request> open_;
  EngineId next_ = 1;
};

}  // namespace facet::broker
