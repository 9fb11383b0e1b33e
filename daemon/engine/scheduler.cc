#include "daemon/engine/scheduler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace facet::engine {
namespace {

bool contains(const std::vector<Scheduler::Id>& ids, Scheduler::Id id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

void Scheduler::add(Id id, size_t which, const Owner& owner) {
  requests_.emplace(id, Request{id, which, owner, arrivals_++});
  ++waiting_[owner.user];
  classes_[which].waiting.push(id, owner);
}

void Scheduler::remove(Id id) {
  auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Request& request = found->second;
  if (request.running) {
    leave_running(request);
    classes_[request.which].waiting.ended();
  } else {
    classes_[request.which].waiting.remove(id);
    no_longer_waits(request);
  }
  requests_.erase(found);
}

void Scheduler::start(Id id) {
  Request& request = requests_.at(id);
  Class& its = classes_[request.which];
  request.in_turn = has_turn(request.which);
  its.waiting.remove(id);
  its.waiting.started(request.owner);
  no_longer_waits(request);
  request.running = true;
  request.paused = false;
  request.idle = 0;
  // In order of arrival also if it was evicted before.
  auto later = std::find_if(its.running.begin(), its.running.end(),
                            [&](const Request* other) { return other->arrival > request.arrival; });
  its.running.insert(later, &request);
  ++running_;
}

void Scheduler::evict(Id id, size_t whose) {
  Request& request = requests_.at(id);
  const bool paused = request.paused;
  leave_running(request);
  request.lost += whose < request.which;
  ++waiting_[request.owner.user];
  if (paused) return;
  request.gave_way += whose == request.which || request.in_turn;
  classes_[request.which].waiting.push_front(id, request.owner);
}

void Scheduler::resume(Id id) {
  const Request& request = requests_.at(id);
  if (!request.running) classes_[request.which].waiting.push_front(id, request.owner);
}

void Scheduler::leave_running(Request& request) {
  update(request.id, 0, true, 0);  // nothing to do, and not active
  Class& its = classes_[request.which];
  std::erase(its.running, &request);
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

Error Scheduler::no_room(uint64_t user) const {
  return {FACET_EXHAUSTED, std::to_string(waiting()) + " requests wait for this model already, " +
                               std::to_string(waiting(user)) + " of them of this user"};
}

std::optional<Scheduler::Admission> Scheduler::admit(Micros now, const Fits& fits) const {
  for (const bool turn : {true, false}) {
    for (size_t which = 0; which < kClasses; ++which) {
      const auto next = next_waiting(which);
      if (!next || has_turn(which) != turn) continue;
      Admission admission{*next, {}};
      for (;;) {
        if (fits(*next, admission.evicted)) return admission;
        auto gives_way = stalled(now, admission.evicted);
        if (!gives_way) gives_way = victim(*next, admission.evicted);
        if (!gives_way) break;
        admission.evicted.push_back(*gives_way);
      }
    }
  }
  return std::nullopt;
}

bool Scheduler::keeps_turn(const Request& request) const {
  return request.in_turn && request.ready() &&
         turns_.owed(request.which) > kTurnMicros - std::ldexp(kTurnMicros, request.gave_way);
}

std::optional<Scheduler::Id> Scheduler::victim(Id waiting, const std::vector<Id>& spared) const {
  const Request& request = requests_.at(waiting);
  const size_t most_urgent = has_turn(request.which) ? 0 : request.which;
  for (size_t which = kClasses; which-- > most_urgent;) {
    const Class& its = classes_[which];
    const auto gives_way = [&](const Request& other) {
      if (which != request.which) return !keeps_turn(other) && other.lost < kMostLost;
      return its.waiting.lead(other.owner, request.owner) >= std::ldexp(kLeadToEvict, other.gave_way);
    };
    const Request* furthest = nullptr;
    for (const Request* other : its.running) {
      if (contains(spared, other->id) || !gives_way(*other)) continue;
      // The later of equal ones: it has the least to lose.
      if (furthest == nullptr || !its.waiting.before(other->owner, furthest->owner)) furthest = other;
    }
    if (furthest != nullptr) return furthest->id;
  }
  return std::nullopt;
}

std::optional<Scheduler::Id> Scheduler::stalled(Micros now, const std::vector<Id>& spared) const {
  std::optional<Id> longest;
  Micros since = now - kStalledMicros;
  for (const Class& its : classes_) {
    for (const Request* request : its.running) {
      if (!request->paused || request->paused_since > since || contains(spared, request->id)) continue;
      longest = request->id;
      since = request->paused_since;
    }
  }
  return longest;
}

void Scheduler::update(Id id, uint32_t pending, bool paused, Micros now) {
  Request& request = requests_.at(id);
  Class& its = classes_[request.which];
  its.ready -= request.ready();
  its.generating -= request.generating();
  if (pending > 0 && pending < request.pending) request.lost = 0;
  request.pending = pending;
  // Who waits for its reader is not active: it gets no share that it could not use.
  if (paused && !request.paused) its.waiting.stopped(request.owner);
  if (!paused && request.paused) its.waiting.started(request.owner);
  if (paused && !request.paused) {
    const Micros worked = now - request.resumed;
    request.paused_since = now - std::max<Micros>(0, request.idle - kWorkCounts * worked);
  } else if (!paused && request.paused) {
    request.idle = now - request.paused_since;
    request.resumed = now;
  }
  request.paused = paused;
  request.updated = ++updates_;
  its.ready += request.ready();
  its.generating += request.generating();
}

std::vector<Share> Scheduler::plan(size_t which, const StepSize& size, uint32_t chunk) const {
  const Class& its = classes_[which];
  Requests prompts, generating;
  for (const Request* request : its.running) {
    if (request->ready()) (request->generating() ? generating : prompts).push_back(request);
  }
  if (generating.size() > size.generating)
    generating = take_turns(which, std::move(generating), size.generating);
  std::vector<Share> shares;
  for (const Request* request : generating) shares.push_back({request->id, 1});
  std::stable_sort(prompts.begin(), prompts.end(), [&](const Request* a, const Request* b) {
    return its.waiting.before(a->owner, b->owner);
  });
  uint32_t left = size.rows - std::min<uint32_t>(size.rows, static_cast<uint32_t>(shares.size()));
  for (const Request* request : prompts) {
    if (left == 0) break;
    const uint32_t share = std::min({request->pending, left, chunk});
    shares.push_back({request->id, share});
    left -= share;
  }
  return shares;
}

uint32_t Scheduler::step_rows(size_t which, uint32_t generating, uint32_t most, const RunCosts& costs,
                              Micros now) const {
  const uint32_t least = generating == 0 ? kLeastRows : generating + kLeastRowsBeside;
  return std::min(std::max(costs.rows_within(kStepMicros[which], now), least), most);
}

StepSize Scheduler::step_size(size_t which, uint32_t most, const RunCosts& costs, Micros now) const {
  const StepSize fair = fair_size(which, costs, now);
  const uint32_t all = std::min(generating(which), fair.generating);
  return {std::min(step_rows(which, all, most, costs, now), fair.rows), all};
}

StepSize Scheduler::fair_size(size_t which, const RunCosts& costs, Micros now) const {
  struct User {
    const Owner* owner = nullptr;
    double weight = 0;
    uint32_t generating = 0;
    bool reads = false;
  };
  const Class& its = classes_[which];
  std::unordered_map<uint64_t, User> users;
  double weight = 0;  // of all
  constexpr uint32_t kAny = std::numeric_limits<uint32_t>::max();
  StepSize fair{kAny, kAny};
  if (generating(which) == 0) return fair;
  for (const Request* request : its.running) {
    if (!request->ready()) continue;
    User& user = users[request->owner.user];
    if (user.owner == nullptr) {
      user.owner = &request->owner;
      user.weight = std::clamp(request->owner.weight, FairQueue::kLeastWeight, FairQueue::kMostWeight);
      weight += user.weight;
    }
    user.generating += request->generating();
    user.reads |= !request->generating();
  }
  const Owner* furthest = users.begin()->second.owner;
  for (const auto& [key, user] : users) {
    if (its.waiting.lead(*user.owner, *furthest) > 0) furthest = user.owner;
  }
  for (const auto& [key, user] : users) {
    if (its.waiting.lead(*furthest, *user.owner) < kLeadToBound) continue;
    const double share = user.weight / weight;
    if (user.generating > 0) {
      const double alone = costs.last_micros(user.generating, now);
      const auto slowed = static_cast<Micros>(std::min(alone / share, 1e15));
      const uint32_t rows = alone == 0 ? 0 : costs.rows_within(slowed, now);
      fair.rows = std::min(fair.rows, std::max(rows, user.generating));
    }
    if (user.reads) {
      const double rows = (1 - share) * costs.rows_within(kStepMicros[which], now);
      fair.generating =
          std::min(fair.generating, std::max({static_cast<uint32_t>(rows), user.generating, 1u}));
    }
  }
  fair.generating = std::min(fair.generating, fair.rows);
  return fair;
}

Scheduler::Requests Scheduler::take_turns(size_t which, Requests generating, uint32_t most) const {
  std::stable_sort(generating.begin(), generating.end(),
                   [](const Request* a, const Request* b) { return a->updated < b->updated; });
  struct Turn {
    uint32_t round;  // how many of its user go before it
    const Request* request;
  };
  std::unordered_map<uint64_t, uint32_t> rounds;
  std::vector<Turn> turns;
  for (const Request* request : generating) turns.push_back({rounds[request->owner.user]++, request});
  std::stable_sort(turns.begin(), turns.end(), [&](const Turn& a, const Turn& b) {
    if (a.round != b.round) return a.round < b.round;
    return classes_[which].waiting.before(a.request->owner, b.request->owner);
  });
  Requests taken;
  for (const Turn& turn : turns) {
    if (taken.size() == most) break;
    taken.push_back(turn.request);
  }
  return taken;
}

void Scheduler::charge(size_t which, const Owner& owner, double micros) {
  classes_[which].waiting.charge(owner, micros);
  std::array<bool, kClasses> has_work{};
  for (size_t c = 0; c < kClasses; ++c) has_work[c] = ready(c) || classes_[c].waiting.size() > 0;
  turns_.ran(which, micros, has_work);
}

std::vector<Scheduler::Id> Scheduler::running(size_t which) const {
  std::vector<Id> ids;
  for (const Request* request : classes_[which].running) ids.push_back(request->id);
  return ids;
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

size_t Scheduler::accounts() const {
  size_t all = 0;
  for (const Class& its : classes_) all += its.waiting.accounts();
  return all;
}

uint64_t Scheduler::comparisons() const {
  uint64_t all = 0;
  for (const Class& its : classes_) all += its.waiting.comparisons();
  return all;
}

}  // namespace facet::engine
