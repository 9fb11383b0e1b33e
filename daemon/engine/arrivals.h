// Arrivals: the requests for one model that came and that it has not taken over yet, because it is not
// loaded, or because others are before them: taking one over makes tokens of its prompt, which takes the
// engine's time.
//
// They wait as others wait for a place: so many of each user (Scheduler::has_room), each with a position, to
// be cancelled, granted credit and ended at its deadline. Of a class the next one is that of the user whose
// requests took the least time to take over, refused or not. No clock, thread or tensor in here.
#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"
#include "daemon/engine/engine.h"
#include "daemon/engine/scheduler.h"
#include "daemon/link/messages.h"

namespace facet::engine {

class Arrivals {
 public:
  struct Request {
    link::Start start;
    Micros arrived;

    size_t which() const { return static_cast<size_t>(start.request.priority); }
    Owner owner() const { return {start.user, start.app, start.weight}; }
  };

  // At most `max_waiting` requests wait. `sink`: see Engine; it is told what ends here.
  Arrivals(std::string name, std::string path, size_t max_waiting, Engine::Sink sink)
      : name_(std::move(name)), path_(std::move(path)), max_waiting_(max_waiting), sink_(std::move(sink)) {}

  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }

  // Queues a request. The error, naming what is wrong, if too many wait, its id is in use or its deadline has
  // passed.
  Result<void> add(link::Start start, Micros now);
  // Ends it. No effect if there is no such request.
  void cancel(uint64_t id, Micros now);
  void grant(uint64_t id, uint32_t tokens);
  // Ends what has come to its deadline.
  void expire(Micros now);
  // The next one; nothing if no request has one.
  std::optional<Micros> next_deadline() const;
  // The model cannot be loaded: ends all with that.
  void fail(const Error& why);
  // Whether one of that class waits.
  bool waits(size_t which) const { return scheduler_.next_waiting(which).has_value(); }
  // The next one of a class of which one waits; it waits here no more.
  Request take(size_t which);
  // To take one over took so long, microseconds.
  void charge(size_t which, const Owner& owner, double micros) {
    scheduler_.charge_taking(which, owner, micros);
  }

  bool empty() const { return requests_.empty(); }
  size_t waiting() const { return requests_.size(); }
  // The class of the most urgent one; Scheduler::kClasses if nobody waits.
  size_t most_urgent() const;
  bool has(uint64_t id) const { return places_.count(id) != 0; }
  // The class of one that waits here.
  size_t which(uint64_t id) const { return places_.at(id)->which(); }
  // Of one that waits here, among those; nothing for others. How long it takes is not in it.
  std::optional<link::Position> position(uint64_t id) const;

 private:
  using Place = std::list<Request>::iterator;
  Request remove(Place place);
  void finish(Place place, protocol::FinishReason reason, Micros now);

  std::string name_, path_;
  size_t max_waiting_;
  Engine::Sink sink_;
  std::list<Request> requests_;  // in the order of their arrival
  std::unordered_map<uint64_t, Place> places_;
  std::set<std::pair<Micros, uint64_t>> deadlines_;
  Scheduler scheduler_;  // in which nobody starts
};

}  // namespace facet::engine
