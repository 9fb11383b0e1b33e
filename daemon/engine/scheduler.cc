#include "daemon/engine/scheduler.h"

#include <algorithm>
#include <cmath>

namespace facet::engine {

void Scheduler::add(Id id, size_t which, const Owner& owner) {
  requests_.emplace(id, Request{which, owner, arrivals_++});
  ++waiting_[owner.user];
  classes_[which].waiting.push(id, owner);
}

void Scheduler::remove(Id id) {
  auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Request& request = found->second;
  if (request.running) {
    leave_running(id, request);
  } else {
    classes_[request.which].waiting.remove(id);
    no_longer_waits(request);
  }
  requests_.erase(found);
}

void Scheduler::start(Id id) {
  Request& request = requests_.at(id);
  Class& its = classes_[request.which];
  its.waiting.remove(id);
  its.waiting.started(request.owner);
  no_longer_waits(request);
  request.running = true;
  request.paused = false;
  // In order of arrival also if it was evicted before.
  auto later = std::find_if(its.running.begin(), its.running.end(),
                            [&](Id other) { return requests_.at(other).arrival > request.arrival; });
  its.running.insert(later, id);
  ++running_;
}

void Scheduler::evict(Id id, size_t whose) {
  Request& request = requests_.at(id);
  const bool paused = request.paused;
  leave_running(id, request);
  ++waiting_[request.owner.user];
  if (paused) return;
  request.gave_way += whose == request.which;
  classes_[request.which].waiting.push_front(id, request.owner);
}

void Scheduler::resume(Id id) {
  const Request& request = requests_.at(id);
  if (!request.running) classes_[request.which].waiting.push_front(id, request.owner);
}

void Scheduler::leave_running(Id id, Request& request) {
  update(id, 0, true);  // nothing to do, and not active
  Class& its = classes_[request.which];
  std::erase(its.running, id);
  request.running = false;
  --running_;
}

void Scheduler::no_longer_waits(const Request& request) {
  auto found = waiting_.find(request.owner.user);
  if (--found->second == 0) waiting_.erase(found);
}

size_t Scheduler::waiting(uint64_t user) const {
  auto found = waiting_.find(user);
  return found == waiting_.end() ? 0 : found->second;
}

bool Scheduler::has_room(uint64_t user, size_t most) const {
  return waiting() < most && waiting(user) < most - waiting();
}

std::optional<Scheduler::Id> Scheduler::victim(Id waiting, const std::vector<Id>& spared) const {
  const Request& request = requests_.at(waiting);
  for (size_t which = kClasses; which-- > request.which;) {
    const Class& its = classes_[which];
    std::optional<Id> furthest;
    for (Id id : its.running) {
      const Request& its_own = requests_.at(id);
      const Owner& owner = its_own.owner;
      if (std::find(spared.begin(), spared.end(), id) != spared.end()) continue;
      if (which == request.which &&
          its.waiting.lead(owner, request.owner) < std::ldexp(kLeadToEvict, its_own.gave_way))
        continue;
      // The later of equal ones: it has the least to lose.
      if (!furthest || !its.waiting.before(owner, requests_.at(*furthest).owner)) furthest = id;
    }
    if (furthest) return furthest;
  }
  return std::nullopt;
}

void Scheduler::update(Id id, uint32_t pending, bool paused) {
  Request& request = requests_.at(id);
  Class& its = classes_[request.which];
  its.ready -= request.ready();
  its.generating -= request.generating();
  request.pending = pending;
  // Who waits for its reader is not active: it gets no share that it could not use.
  if (paused && !request.paused) its.waiting.stopped(request.owner);
  if (!paused && request.paused) its.waiting.started(request.owner);
  request.paused = paused;
  its.ready += request.ready();
  its.generating += request.generating();
}

std::vector<Share> Scheduler::plan(size_t which, uint32_t rows, uint32_t chunk) const {
  const Class& its = classes_[which];
  std::vector<std::pair<Id, const Request*>> prompts;
  std::vector<Share> shares;
  for (Id id : its.running) {
    const Request& request = requests_.at(id);
    if (!request.ready()) continue;
    if (request.generating()) {
      shares.push_back({id, 1});
    } else {
      prompts.emplace_back(id, &request);
    }
  }
  std::stable_sort(prompts.begin(), prompts.end(), [&](const auto& a, const auto& b) {
    return its.waiting.before(a.second->owner, b.second->owner);
  });
  uint32_t left = rows - std::min<uint32_t>(rows, static_cast<uint32_t>(shares.size()));
  for (const auto& [id, request] : prompts) {
    if (left == 0) break;
    const uint32_t share = std::min({request->pending, left, chunk});
    shares.push_back({id, share});
    left -= share;
  }
  return shares;
}

size_t Scheduler::position(Id id) const {
  auto found = requests_.find(id);
  if (found == requests_.end() || found->second.running) return 0;
  return classes_[found->second.which].waiting.position(id);
}

double Scheduler::expected(Id id, size_t places, double work) const {
  auto found = requests_.find(id);
  if (found == requests_.end() || found->second.running) return work;
  const Class& its = classes_[found->second.which];
  double urgent = 0;
  for (size_t which = 0; which < found->second.which; ++which) {
    const Class& other = classes_[which];
    // On average half of what runs is done.
    urgent += (static_cast<double>(other.waiting.size()) + other.ready / 2.0) * other.waiting.mean_cost();
  }
  const size_t before = its.running.size() + its.waiting.position(id) + 1;
  const double ends = static_cast<double>(before - std::min(before, places));
  const double own = ends * its.waiting.mean_cost() + work;
  return std::min(urgent + own, own / ClassShare::kMinimum);
}

}  // namespace facet::engine
