#include "tests/sim/checks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <string>

namespace facet::sim {

using engine::ClassShare, engine::Scheduler;

namespace {

struct Unfairness {
  size_t hungry = 0;  // who had something waiting all the time
  double part =
      0;  // the greatest distance of a work for its weight from what all had for theirs, in parts of that
  double requests = 0;  // the greatest distance of a work from its part of all, in longest requests
};

template <typename Map>
Unfairness unfairness(const Map& accounts, double longest_request) {
  Unfairness result;
  double work = 0, weight = 0;
  for (const auto& [key, account] : accounts) {
    if (account.waiting == 0) continue;
    ++result.hungry;
    work += account.work;
    weight += account.weight;
  }
  for (const auto& [key, account] : accounts) {
    if (account.waiting == 0) continue;
    const double fair = account.weight * work / weight;
    result.part = std::max(result.part, std::abs(account.work / fair - 1));
    result.requests = std::max(result.requests, std::abs(account.work - fair) / longest_request);
  }
  return result;
}

// The apps of user 0, who asks most.
std::map<std::string, Simulator::Account> first_users_apps(const Simulator& simulator, size_t priority) {
  std::map<std::string, Simulator::Account> apps;
  for (const auto& [key, app] : simulator.apps(priority)) {
    if (key.first == 0) apps[key.second] = app;
  }
  return apps;
}

// Looks at the shares of a class whenever another quarter of what waits is gone.
class Shares {
 public:
  explicit Shares(size_t priority) : priority_(priority) {}

  void look(const Simulator& simulator) {
    const size_t waiting = simulator.waiting(priority_);
    if (next_ && (waiting > *next_ || waiting == 0)) return;
    if (next_) {
      const double longest = simulator.longest_request(priority_);
      add(unfairness(simulator.users(priority_), longest), users_);
      add(unfairness(first_users_apps(simulator, priority_), longest), apps_);
    }
    next_ = waiting * 3 / 4;
  }

  void check() const {
    for (const auto& [what, last] :
         {std::pair<std::string, Unfairness>("users", users_), {"apps of user 0", apps_}}) {
      MESSAGE("class " << priority_ << ": " << last.hungry << " " << what << " have their shares within "
                       << 100 * last.part << "%; ever " << last.requests << " longest requests away");
      CHECK(last.hungry >= kFew);
      CHECK(last.part <= 0.05);
      CHECK(last.requests <= 1.5);
    }
  }

 private:
  static constexpr size_t kFew = 10;

  // Keeps the last one of more than a few, and the greatest distance ever.
  static void add(const Unfairness& now, Unfairness& last) {
    const double requests = std::max(now.requests, last.requests);
    if (now.hungry >= kFew) last = now;
    last.requests = requests;
  }

  size_t priority_;
  std::optional<size_t> next_;
  Unfairness users_, apps_;
};

void check_minimum_shares(const Simulator& simulator) {
  for (size_t c = 1; c < kClasses; ++c) {
    const double part = simulator.busy(c) / simulator.now();
    MESSAGE("class " << c << ": " << 100 * part << "% of the device while all have something to run");
    CHECK(std::abs(part - ClassShare::kMinimum) <= 0.01);
  }
}

void check_waits(const Simulator& simulator, const Settings& settings, size_t priority) {
  const auto& users = simulator.users(priority);
  const double longest = simulator.longest_request(priority);
  double weights = 0, worst = 0;
  for (const auto& [key, user] : users) weights += user.weight;
  for (const auto& [key, user] : users) {
    const double others = static_cast<double>(users.size() + settings.places);
    worst = std::max(worst, user.longest_hungry / (longest * (weights / user.weight + others)));
  }
  MESSAGE("class " << priority << ": the longest wait is " << worst << " of its bound");
  CHECK(worst <= 1);
  if (priority > 0) {
    // Until it is its turn.
    const double bound = (Scheduler::kTurnMicros + simulator.longest_slice()) / ClassShare::kMinimum +
                         kClasses * (Scheduler::kTurnMicros + simulator.longest_slice());
    MESSAGE("class " << priority << ": ran after " << simulator.longest_gap(priority)
                     << " us at the latest, bound " << bound);
    CHECK(simulator.longest_gap(priority) <= bound);
  }
}

void check_finishes(const Simulator& simulator, size_t priority) {
  std::vector<FluidUser> users;
  for (const auto& [key, user] : simulator.users(priority)) users.push_back({user.work, user.weight});
  const std::vector<double> ideal = fluid_finishes(users);
  double late = 0;
  size_t i = 0;
  for (const auto& [key, user] : simulator.users(priority)) late = std::max(late, user.drained - ideal[i++]);
  MESSAGE("class " << priority << ": done later than on the ideal device by at most "
                   << late / simulator.busy(priority) << " of the whole");
  CHECK(late <= 0.05 * simulator.busy(priority));
}

}  // namespace

std::vector<double> fluid_finishes(const std::vector<FluidUser>& users) {
  std::vector<size_t> order(users.size());
  std::iota(order.begin(), order.end(), 0);
  auto level = [&](size_t i) { return users[i].work / users[i].weight; };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return level(a) < level(b); });
  double weights = 0, now = 0, reached = 0;
  for (const FluidUser& user : users) weights += user.weight;
  std::vector<double> finishes(users.size());
  for (size_t i : order) {
    now += (level(i) - reached) * weights;
    reached = level(i);
    weights -= users[i].weight;
    finishes[i] = now;
  }
  return finishes;
}

void check_crowd(const Settings& settings, const Crowd& crowd) {
  Simulator simulator(settings);
  for (Request& request : make_requests(crowd)) simulator.submit(std::move(request));
  std::vector<Shares> shares;
  for (size_t c = 0; c < kClasses; ++c) shares.emplace_back(c);
  bool all = true;  // have something left
  while (simulator.step()) {
    for (size_t c = 0; c < kClasses; ++c) {
      shares[c].look(simulator);
      if (!all || simulator.waiting(c) > 0) continue;
      all = false;
      check_minimum_shares(simulator);
    }
  }
  for (size_t c = 0; c < kClasses; ++c) {
    shares[c].check();
    check_waits(simulator, settings, c);
    check_finishes(simulator, c);
  }
  for (uint32_t id = 0; id < crowd.requests; ++id) REQUIRE(simulator.times(id).finished >= 0);
}

}  // namespace facet::sim
