#include "daemon/engine/arrivals.h"

#include <algorithm>
#include <limits>

namespace facet::engine {

Result<void> Arrivals::add(link::Start start, Micros now) {
  const uint64_t id = start.request.id;
  if (!scheduler_.has_room(start.user, max_waiting_)) return scheduler_.no_room(start.user);
  if (has(id)) return Error{FACET_INVALID_ARGUMENT, "id: it is in use"};
  if (start.deadline != 0 && start.deadline <= now) {
    return Error{FACET_DEADLINE, "deadline: it passed before the request came"};
  }
  if (start.deadline != 0) deadlines_.emplace(start.deadline, id);
  const Place place = requests_.insert(requests_.end(), {std::move(start), now});
  places_[id] = place;
  scheduler_.add(id, place->which(), place->owner());
  return {};
}

void Arrivals::cancel(uint64_t id, Micros now) {
  const auto found = places_.find(id);
  if (found != places_.end()) finish(found->second, protocol::FinishReason::kCancelled, now);
}

void Arrivals::grant(uint64_t id, uint32_t tokens) {
  const auto found = places_.find(id);
  if (found == places_.end()) return;
  uint32_t& credit = found->second->start.request.credit;
  if (credit == 0) return;  // without bound
  credit += std::min(tokens, std::numeric_limits<uint32_t>::max() - credit);
}

void Arrivals::expire(Micros now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    finish(places_.at(deadlines_.begin()->second), protocol::FinishReason::kDeadline, now);
  }
}

std::optional<Micros> Arrivals::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

void Arrivals::fail(const Error& why) {
  while (!empty()) {
    const uint64_t id = remove(requests_.begin()).start.request.id;
    sink_(protocol::Failed{id, why.code, why.message, why.retry_after_ms});
  }
}

Arrivals::Request Arrivals::take(size_t which) {
  return remove(places_.at(*scheduler_.next_waiting(which)));
}

Arrivals::Request Arrivals::remove(Place place) {
  Request request = std::move(*place);
  const uint64_t id = request.start.request.id;
  requests_.erase(place);
  places_.erase(id);
  deadlines_.erase({request.start.deadline, id});
  scheduler_.remove(id);
  return request;
}

void Arrivals::finish(Place place, protocol::FinishReason reason, Micros now) {
  const Request request = remove(place);
  protocol::Finish finish;
  finish.id = request.start.request.id;
  finish.reason = reason;
  finish.timings.queued = static_cast<uint64_t>(std::max<Micros>(now - request.arrived, 0));
  sink_(std::move(finish));
}

size_t Arrivals::most_urgent() const {
  size_t which = 0;
  while (which < Scheduler::kClasses && !waits(which)) ++which;
  return which;
}

std::optional<link::Position> Arrivals::position(uint64_t id) const {
  if (!has(id)) return std::nullopt;
  return link::Position{id, static_cast<uint32_t>(scheduler_.position(id) + 1), 0};
}

}  // namespace facet::engine
