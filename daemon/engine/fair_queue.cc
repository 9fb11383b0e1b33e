#include "daemon/engine/fair_queue.h"

#include <algorithm>
#include <cmath>
#include <ext/pb_ds/assoc_container.hpp>
#include <ext/pb_ds/tree_policy.hpp>
#include <limits>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_map>

namespace facet::engine {

namespace {

// Work in 2^-20 microseconds. Whole numbers: years of work at the least weight beside a slice at the most one
// stay exact.
using Work = __int128;
constexpr double kUnits = 1 << 20;
constexpr double kMostMicros = 1e15;  // of one charge

Work to_work(double micros, double weight) {
  if (!(micros > 0)) return 0;
  const double divisor = weight > 0 ? std::clamp(weight, FairQueue::kLeastWeight, FairQueue::kMostWeight)
                                    : FairQueue::kLeastWeight;
  // Upwards: nothing is free.
  return static_cast<Work>(std::ceil(std::min(micros, kMostMicros) / divisor * kUnits));
}

struct Account {
  Work work = 0;
  Work expected = 0;  // of what runs, as far as it is not done
  uint64_t waiting = 0;
  uint64_t running = 0;
  uint64_t since = std::numeric_limits<uint64_t>::max();  // number of the activation; no two have the same
  uint64_t made = 0;  // number of its making: tells those apart that never were active

  bool active() const { return waiting > 0 || running > 0; }
  std::pair<Work, uint64_t> by_work() const { return {work, since}; }
  std::pair<Work, uint64_t> by_turn() const { return {work + expected, since}; }
};

// Compares, and counts how often.
struct Counted {
  using is_transparent = void;
  uint64_t* count;

  bool operator()(int64_t a, int64_t b) const { return ++*count, a < b; }
  bool operator()(std::string_view a, std::string_view b) const { return ++*count, a < b; }
};
struct LessWork : Counted {
  bool operator()(const Account* a, const Account* b) const {
    return ++*count, std::pair(a->by_work(), a->made) < std::pair(b->by_work(), b->made);
  }
};
struct Sooner : Counted {
  bool operator()(const Account* a, const Account* b) const { return ++*count, a->by_turn() < b->by_turn(); }
};

// The accounts that divide one share. None is below the floor: they begin there, and idle ones that it has
// reached are forgotten when it rises.
template <typename T>
struct Siblings {
  std::set<T*, Sooner> ready;  // something waits
  std::set<T*, LessWork> active, idle;
  Work floor = 0;

  explicit Siblings(Counted counted) : ready({counted}), active({counted}), idle({counted}) {}

  // Applies `change` to an account, and puts it where it then belongs.
  template <typename Change>
  void update(T& account, uint64_t& activations, Change change) {
    const bool was_active = account.active();
    auto turn = ready.extract(&account);
    auto node = (was_active ? active : idle).extract(&account);
    change(account);
    if (!was_active && account.active()) account.since = ++activations;
    (account.active() ? active : idle).insert(std::move(node));
    if (account.waiting == 0) return;
    if (turn) {
      ready.insert(std::move(turn));
    } else {
      ready.insert(&account);
    }
  }

  void raise_floor() {
    if (!active.empty()) floor = std::max(floor, (*active.begin())->work);
  }
};

// The waiting requests of an app by their order; tells the rank of one.
using Requests = __gnu_pbds::tree<int64_t, FairQueue::Id, Counted, __gnu_pbds::rb_tree_tag,
                                  __gnu_pbds::tree_order_statistics_node_update>;

struct App : Account {
  std::string_view name;  // its key in User::apps
  Requests requests;

  explicit App(Counted counted) : requests(counted) {}
};

struct User : Account {
  uint64_t key = 0;
  double weight = 1;
  std::map<std::string, App, Counted> apps;
  Siblings<App> siblings;  // the apps

  explicit User(Counted counted) : apps(counted), siblings(counted) {}

  App* find_app(std::string_view name) {
    auto found = apps.find(name);
    return found == apps.end() ? nullptr : &found->second;
  }
};

// How many requests of `other`, each costing `cost` of its work, go before one of `own` that is behind others
// of its own that cost `behind`.
uint64_t ahead(const Account& other, Work cost, const Account& own, Work behind) {
  const Work gap = own.by_turn().first + behind - other.by_turn().first;
  if (gap < 0) return 0;
  const Work count = gap / cost + (gap % cost != 0 || other.since < own.since ? 1 : 0);
  return static_cast<uint64_t>(std::min(count, static_cast<Work>(other.waiting)));
}

// What requests cost, the later ones counting more.
class MeanCost {
 public:
  void add_work(double micros) {
    if (micros > 0) micros_ += std::min(micros, kMostMicros);
  }
  void add_request() {
    requests_ += 1;
    if (requests_ < 1024) return;
    requests_ /= 2;
    micros_ /= 2;
  }
  double micros() const { return std::max(1.0, micros_ / std::max(1.0, requests_)); }
  double least(uint64_t running) const {
    return micros_ / std::max(1.0, requests_ + static_cast<double>(running));
  }

 private:
  double micros_ = 0;
  double requests_ = 0;
};

}  // namespace

struct FairQueue::State {
  struct Entry {
    User* user;
    App* app;
    int64_t order;
  };

  uint64_t comparisons = 0;
  Counted counted{&comparisons};
  std::unordered_map<uint64_t, User> users;
  Siblings<User> siblings{counted};  // the users
  std::unordered_map<Id, Entry> entries;
  int64_t first = 0, last = 0;  // the orders given out last at either end
  uint64_t activations = 0, made = 0;
  size_t apps = 0;  // of all users
  uint64_t running = 0;
  MeanCost cost;

  User* find_user(uint64_t key) {
    auto found = users.find(key);
    return found == users.end() ? nullptr : &found->second;
  }

  // Makes the accounts that are missing.
  std::pair<User&, App&> accounts_of(const Owner& owner) {
    auto [user, new_user] = users.try_emplace(owner.user, counted);
    if (new_user) {
      user->second.key = owner.user;
      user->second.work = siblings.floor;
      user->second.made = ++made;
      siblings.idle.insert(&user->second);
    }
    user->second.weight = owner.weight;
    Siblings<App>& among = user->second.siblings;
    auto [app, new_app] = user->second.apps.try_emplace(owner.app, counted);
    if (new_app) {
      ++apps;
      app->second.name = app->first;
      app->second.work = among.floor;
      app->second.made = ++made;
      among.idle.insert(&app->second);
    }
    return {user->second, app->second};
  }

  // Applies change(account, its weight) to both. Either may be gone afterwards.
  template <typename Change>
  void update(User& user, App& app, Change change) {
    user.siblings.update(app, activations, [&](Account& account) { change(account, 1); });
    siblings.update(user, activations, [&](Account& account) { change(account, user.weight); });
    tidy(user, false);
  }

  // Forgets idle accounts: those that are too many and, if `passed`, those that the floor has passed.
  void tidy(User& user, bool passed) {
    auto many = [passed](const auto& siblings, size_t most) {
      const auto& idle = siblings.idle;
      return idle.size() > most || (passed && !idle.empty() && (*idle.begin())->work <= siblings.floor);
    };
    while (many(user.siblings, kIdleApps)) {
      App* app = *user.siblings.idle.begin();
      user.siblings.idle.erase(app);
      user.apps.erase(user.apps.find(app->name));
      --apps;
    }
    while (many(siblings, kIdleUsers)) {
      User* idle = *siblings.idle.begin();
      siblings.idle.erase(idle);
      apps -= idle->apps.size();
      users.erase(idle->key);
    }
  }

  void push(Id id, const Owner& owner, int64_t order) {
    auto [entry, fresh] = entries.try_emplace(id);
    if (!fresh) return;
    auto [user, app] = accounts_of(owner);
    entry->second = {&user, &app, order};
    app.requests.insert({order, id});
    update(user, app, [](Account& account, double) { ++account.waiting; });
  }

  Entry take(std::unordered_map<Id, Entry>::iterator entry) {
    const Entry taken = entry->second;
    entries.erase(entry);
    taken.app->requests.erase(taken.order);
    return taken;
  }

  // Where an owner stands; one without an account as if it came now.
  Account standing(uint64_t user) const {
    auto found = users.find(user);
    return standing(found == users.end() ? nullptr : &found->second, siblings.floor);
  }
  static Account standing(const Account* account, Work floor) {
    return account ? *account : Account{.work = floor};
  }
};

FairQueue::FairQueue() : state_(std::make_unique<State>()) {}
FairQueue::FairQueue(FairQueue&& other) noexcept = default;
FairQueue& FairQueue::operator=(FairQueue&& other) noexcept = default;
FairQueue::~FairQueue() = default;

void FairQueue::push(Id id, const Owner& owner) {
  state_->push(id, owner, ++state_->last);
}

void FairQueue::push_front(Id id, const Owner& owner) {
  state_->push(id, owner, --state_->first);
}

bool FairQueue::remove(Id id) {
  auto entry = state_->entries.find(id);
  if (entry == state_->entries.end()) return false;
  const State::Entry taken = state_->take(entry);
  state_->update(*taken.user, *taken.app, [](Account& account, double) { --account.waiting; });
  return true;
}

std::optional<FairQueue::Id> FairQueue::front() const {
  const auto& users = state_->siblings.ready;
  if (users.empty()) return std::nullopt;
  return (*(*users.begin())->siblings.ready.begin())->requests.begin()->second;
}

size_t FairQueue::size() const {
  return state_->entries.size();
}

void FairQueue::started(const Owner& owner) {
  auto [user, app] = state_->accounts_of(owner);
  const double micros = state_->cost.micros();
  ++state_->running;
  state_->update(user, app, [micros](Account& account, double weight) {
    ++account.running;
    account.expected += to_work(micros, weight);
  });
}

void FairQueue::stopped(const Owner& owner) {
  User* user = state_->find_user(owner.user);
  App* app = user ? user->find_app(owner.app) : nullptr;
  if (!app || app->running == 0) return;
  --state_->running;
  state_->update(*user, *app, [](Account& account, double) {
    account.expected -= account.expected / static_cast<Work>(account.running);
    --account.running;
  });
}

void FairQueue::ended() {
  state_->cost.add_request();
}

void FairQueue::charge(const Owner& owner, double micros) {
  state_->cost.add_work(micros);
  charge_besides(owner, micros);
}

void FairQueue::charge_besides(const Owner& owner, double micros) {
  if (!(micros > 0)) return;
  auto [user, app] = state_->accounts_of(owner);
  auto charge = [&](auto& siblings, auto& account, Work work) {
    siblings.update(account, state_->activations, [&](Account& a) {
      a.work += work;
      a.expected -= std::min(a.expected, work);
    });
    siblings.raise_floor();
  };
  charge(user.siblings, app, to_work(micros, 1));
  charge(state_->siblings, user, to_work(micros, owner.weight));
  state_->tidy(user, true);
}

bool FairQueue::before(const Owner& a, const Owner& b) const {
  if (a.user != b.user) return state_->standing(a.user).by_work() < state_->standing(b.user).by_work();
  User* user = state_->find_user(a.user);
  if (!user || a.app == b.app) return false;
  auto standing = [&](const Owner& owner) {
    return State::standing(user->find_app(owner.app), user->siblings.floor);
  };
  return standing(a).by_work() < standing(b).by_work();
}

double FairQueue::lead(const Owner& a, const Owner& b) const {
  return static_cast<double>(state_->standing(a.user).work - state_->standing(b.user).work) / kUnits;
}

size_t FairQueue::position(Id id) const {
  auto found = state_->entries.find(id);
  if (found == state_->entries.end()) return size();
  const User& user = *found->second.user;
  const App& app = *found->second.app;
  const double micros = state_->cost.micros();
  // First those of its own user, then as many of each other user's as that user has had by then.
  const Work cost = to_work(micros, 1);
  uint64_t own = app.requests.order_of_key(found->second.order);
  const Work app_behind = static_cast<Work>(own) * cost;
  for (const App* other : user.siblings.ready) {
    if (other != &app) own += ahead(*other, cost, app, app_behind);
  }
  uint64_t position = own;
  const Work user_behind = static_cast<Work>(own) * to_work(micros, user.weight);
  for (const User* other : state_->siblings.ready) {
    if (other != &user) position += ahead(*other, to_work(micros, other->weight), user, user_behind);
  }
  return position;
}

double FairQueue::mean_cost() const {
  return state_->cost.least(state_->running);
}

size_t FairQueue::accounts() const {
  return state_->users.size() + state_->apps;
}

uint64_t FairQueue::comparisons() const {
  return state_->comparisons;
}

}  // namespace facet::engine
