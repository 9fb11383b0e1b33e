// A fair queue in the plainest way, to compare the real one with.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "daemon/engine/fair_queue.h"

namespace facet::test {

using engine::Owner;

// The same in the plainest way: every question looks at everything.
class Naive {
 public:
  using Work = __int128;
  struct Account {
    Work work = 0;
    Work expected = 0;
    int running = 0;
    uint64_t since = std::numeric_limits<uint64_t>::max();
    int waiting = 0;
    std::pair<Work, uint64_t> by_work() const { return {work, since}; }
    std::pair<Work, uint64_t> by_turn() const { return {work + expected, since}; }
    bool active() const { return waiting + running > 0; }
  };
  struct App : Account {
    std::list<uint64_t> ids;
  };
  struct User : Account {
    double weight = 1;
    Work floor = 0;
    std::map<std::string, App> apps;
  };

  static Work work(double micros, double weight) {
    return static_cast<Work>(std::ceil(micros / weight * (1 << 20)));
  }

  void push(uint64_t id, const Owner& owner, bool front) {
    if (owners_.contains(id)) return;
    owners_[id] = owner;
    auto& ids = app_of(owner).ids;
    ids.insert(front ? ids.begin() : ids.end(), id);
    change(owner, 1, 0);
  }
  bool remove(uint64_t id) {
    if (!owners_.contains(id)) return false;
    const Owner owner = owners_[id];
    owners_.erase(id);
    app_of(owner).ids.remove(id);
    change(owner, -1, 0);
    return true;
  }
  void started(const Owner& owner) { change(owner, 0, 1); }
  void stopped(const Owner& owner) {
    if (!users_.contains(owner.user) || !users_[owner.user].apps.contains(owner.app)) return;
    if (app_of(owner).running == 0) return;
    change(owner, 0, -1);
  }
  void ended() { ++ended_; }
  void charge(const Owner& owner, double micros) {
    micros_ += micros;
    App& app = app_of(owner);
    User& user = users_[owner.user];
    app.work = std::max(app.work, user.floor) + work(micros, 1);
    app.expected -= std::min(app.expected, work(micros, 1));
    user.work = std::max(user.work, floor_) + work(micros, owner.weight);
    user.expected -= std::min(user.expected, work(micros, owner.weight));
    raise(user.floor, user.apps);
    raise(floor_, users_);
  }

  const uint64_t* front() const {
    const User* user = least(users_);
    return user ? &least(user->apps)->ids.front() : nullptr;
  }
  Account standing(uint64_t key) const { return standing(users_, key, floor_); }
  bool before(const Owner& a, const Owner& b) const {
    if (a.user != b.user) return standing(a.user).by_work() < standing(b.user).by_work();
    if (!users_.contains(a.user) || a.app == b.app) return false;
    const User& user = users_.at(a.user);
    return standing(user.apps, a.app, user.floor).by_work() <
           standing(user.apps, b.app, user.floor).by_work();
  }
  // Serves everyone until it is this one's turn.
  size_t position(uint64_t id) const {
    Naive copy = *this;
    const double cost = mean_cost();
    for (size_t position = 0;; ++position) {
      const uint64_t first = *copy.front();
      if (first == id) return position;
      const Owner owner = copy.owners_[first];
      copy.remove(first);
      copy.app_of(owner).work += work(cost, 1);
      copy.users_[owner.user].work += work(cost, owner.weight);
    }
  }
  const std::map<uint64_t, Owner>& owners() const { return owners_; }

 private:
  double mean_cost() const { return std::max(1.0, micros_ / std::max(1, ended_)); }
  App& app_of(const Owner& owner) {
    auto [user, new_user] = users_.try_emplace(owner.user);
    if (new_user) user->second.work = floor_;
    auto [app, new_app] = user->second.apps.try_emplace(owner.app);
    if (new_app) app->second.work = user->second.floor;
    return app->second;
  }
  void change(const Owner& owner, int waiting, int running) {
    App& app = app_of(owner);
    User& user = users_[owner.user];
    for (auto [account, floor, weight] :
         {std::tuple<Account*, Work, double>{&app, user.floor, 1}, {&user, floor_, owner.weight}}) {
      const bool was = account->active();
      if (running > 0) account->expected += work(mean_cost(), weight);
      if (running < 0) account->expected -= account->expected / account->running;
      account->waiting += waiting;
      account->running += running;
      if (was || !account->active()) continue;
      account->work = std::max(account->work, floor);
      account->since = ++activations_;
    }
  }
  template <typename Map>
  static void raise(Work& floor, Map& accounts) {
    std::optional<Work> least;
    for (auto& [key, account] : accounts) {
      if (account.active()) least = least ? std::min(*least, account.work) : account.work;
    }
    if (least) floor = std::max(floor, *least);
    std::erase_if(accounts, [&](auto& item) { return !item.second.active() && item.second.work <= floor; });
  }
  template <typename Map>
  static auto least(Map& accounts) -> decltype(&accounts.begin()->second) {
    decltype(&accounts.begin()->second) first = nullptr;
    for (auto& [key, account] : accounts) {
      if (account.waiting > 0 && (!first || account.by_turn() < first->by_turn())) first = &account;
    }
    return first;
  }
  template <typename Map, typename Key>
  static Account standing(const Map& accounts, const Key& key, Work floor) {
    auto found = accounts.find(key);
    Account account = found == accounts.end() ? Account() : Account(found->second);
    account.work = std::max(account.work, floor);
    return account;
  }

  std::map<uint64_t, User> users_;
  std::map<uint64_t, Owner> owners_;  // of what waits
  Work floor_ = 0;
  uint64_t activations_ = 0;
  double micros_ = 0;
  int ended_ = 0;
};

}  // namespace facet::test
