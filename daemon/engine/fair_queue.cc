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
  uint64_t waiting = 0;
  uint64_t running = 0;
  uint64_t since = std::numeric_limits<uint64_t>::max();  // number of the activation; no two have the same

  bool active() const { return waiting > 0 || running > 0; }
  auto order() const { return std::tie(work, running, since); }
};

// Compares, and counts how often.
struct Sooner {
  using is_transparent = void;
  uint64_t* count;

  bool operator()(const Account* a, const Account* b) const { return ++*count, a->order() < b->order(); }
  bool operator()(int64_t a, int64_t b) const { return ++*count, a < b; }
  bool operator()(std::string_view a, std::string_view b) const { return ++*count, a < b; }
};

// The accounts that divide one share, by their state and order.
template <typename T>
struct Siblings {
  using Index = std::set<T*, Sooner>;
  Index ready, running, idle;  // something waits; nothing waits, something runs; neither
  Work floor = 0;

  explicit Siblings(Sooner sooner) : ready(sooner), running(sooner), idle(sooner) {}

  Index& index_of(const T& account) {
    return account.waiting > 0 ? ready : account.running > 0 ? running : idle;
  }

  // Applies `change` to an account, and puts it where it then belongs.
  template <typename Change>
  void update(T& account, uint64_t& activations, Change change) {
    auto node = index_of(account).extract(&account);
    const bool was_active = account.active();
    change(account);
    if (!was_active && account.active()) {
      account.work = std::max(account.work, floor);
      account.since = ++activations;
    }
    index_of(account).insert(std::move(node));
  }

  void raise_floor() {
    if (ready.empty() && running.empty()) return;
    const T* least = ready.empty() ? *running.begin() : *ready.begin();
    if (!running.empty()) least = std::min(least, static_cast<const T*>(*running.begin()), ready.key_comp());
    floor = std::max(floor, least->work);
  }
};

// The waiting requests of an app by their order; tells the rank of one.
using Requests = __gnu_pbds::tree<int64_t, FairQueue::Id, Sooner, __gnu_pbds::rb_tree_tag,
                                  __gnu_pbds::tree_order_statistics_node_update>;

struct App : Account {
  std::string_view name;  // its key in User::apps
  Requests requests;

  explicit App(Sooner sooner) : requests(sooner) {}
};

struct User : Account {
  uint64_t key = 0;
  double weight = 1;
  std::map<std::string, App, Sooner> apps;
  Siblings<App> by_order;

  explicit User(Sooner sooner) : apps(sooner), by_order(sooner) {}

  App* find_app(std::string_view name) {
    auto found = apps.find(name);
    return found == apps.end() ? nullptr : &found->second;
  }
};

// How many requests of `other`, each costing `cost` of its work, go before one of `own` that stands at
// `work`.
uint64_t ahead(const Account& other, Work cost, const Account& own, Work work) {
  if (other.work > work) return 0;
  const Work gap = work - other.work;
  const bool ties = std::tie(other.running, other.since) < std::tie(own.running, own.since);
  const Work count = gap / cost + (gap % cost != 0 || ties ? 1 : 0);
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
  Sooner sooner{&comparisons};
  std::unordered_map<uint64_t, User> users;
  Siblings<User> by_order{sooner};
  std::unordered_map<Id, Entry> entries;
  int64_t first = 0, last = 0;  // the orders given out last at either end
  uint64_t activations = 0;
  size_t apps = 0;  // of all users
  MeanCost cost;

  User* find_user(uint64_t key) {
    auto found = users.find(key);
    return found == users.end() ? nullptr : &found->second;
  }

  // Makes the accounts that are missing.
  std::pair<User&, App&> accounts_of(const Owner& owner) {
    auto [user, new_user] = users.try_emplace(owner.user, sooner);
    if (new_user) {
      user->second.key = owner.user;
      user->second.work = by_order.floor;
      by_order.idle.insert(&user->second);
    }
    user->second.weight = owner.weight;
    Siblings<App>& siblings = user->second.by_order;
    auto [app, new_app] = user->second.apps.try_emplace(owner.app, sooner);
    if (new_app) {
      ++apps;
      app->second.name = app->first;
      app->second.work = siblings.floor;
      siblings.idle.insert(&app->second);
    }
    return {user->second, app->second};
  }

  // Applies `change` to both accounts. Either may be gone afterwards.
  template <typename Change>
  void update(User& user, App& app, Change change) {
    user.by_order.update(app, activations, change);
    by_order.update(user, activations, change);
    tidy(user, false);
  }

  // Forgets idle accounts: those that are too many and, if `passed`, those that the floor has passed.
  void tidy(User& user, bool passed) {
    auto many = [passed](const auto& siblings, size_t most) {
      const auto& idle = siblings.idle;
      return idle.size() > most || (passed && !idle.empty() && (*idle.begin())->work <= siblings.floor);
    };
    while (many(user.by_order, kIdleApps)) {
      App* app = *user.by_order.idle.begin();
      user.by_order.idle.erase(app);
      user.apps.erase(user.apps.find(app->name));
      --apps;
    }
    while (many(by_order, kIdleUsers)) {
      User* idle = *by_order.idle.begin();
      by_order.idle.erase(idle);
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
    update(user, app, [](Account& account) { ++account.waiting; });
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
    return standing(found == users.end() ? nullptr : &found->second, by_order.floor);
  }
  static Account standing(const Account* account, Work floor) {
    Account result = account ? *account : Account();
    result.work = std::max(result.work, floor);
    return result;
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
  state_->update(*taken.user, *taken.app, [](Account& account) { --account.waiting; });
  return true;
}

std::optional<FairQueue::Id> FairQueue::front() const {
  const auto& users = state_->by_order.ready;
  if (users.empty()) return std::nullopt;
  return (*(*users.begin())->by_order.ready.begin())->requests.begin()->second;
}

size_t FairQueue::size() const {
  return state_->entries.size();
}

void FairQueue::started(const Owner& owner) {
  auto [user, app] = state_->accounts_of(owner);
  state_->update(user, app, [](Account& account) { ++account.running; });
}

void FairQueue::stopped(const Owner& owner) {
  User* user = state_->find_user(owner.user);
  App* app = user ? user->find_app(owner.app) : nullptr;
  if (!app || app->running == 0) return;
  state_->cost.add_request();
  state_->update(*user, *app, [](Account& account) { --account.running; });
}

void FairQueue::charge(const Owner& owner, double micros) {
  if (!(micros > 0)) return;
  state_->cost.add_work(micros);
  auto [user, app] = state_->accounts_of(owner);
  auto charge = [&](auto& siblings, auto& account, Work work) {
    siblings.update(account, state_->activations,
                    [&](Account& a) { a.work = std::max(a.work, siblings.floor) + work; });
    siblings.raise_floor();
  };
  charge(user.by_order, app, to_work(micros, 1));
  charge(state_->by_order, user, to_work(micros, owner.weight));
  state_->tidy(user, true);
}

bool FairQueue::before(const Owner& a, const Owner& b) const {
  if (a.user != b.user) return state_->standing(a.user).order() < state_->standing(b.user).order();
  User* user = state_->find_user(a.user);
  if (!user || a.app == b.app) return false;
  auto standing = [&](const Owner& owner) {
    return State::standing(user->find_app(owner.app), user->by_order.floor);
  };
  return standing(a).order() < standing(b).order();
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
  const Work app_work = app.work + static_cast<Work>(own) * cost;
  for (const App* other : user.by_order.ready) {
    if (other != &app) own += ahead(*other, cost, app, app_work);
  }
  uint64_t position = own;
  const Work user_work = user.work + static_cast<Work>(own) * to_work(micros, user.weight);
  for (const User* other : state_->by_order.ready) {
    if (other != &user) position += ahead(*other, to_work(micros, other->weight), user, user_work);
  }
  return position;
}

size_t FairQueue::accounts() const {
  return state_->users.size() + state_->apps;
}

uint64_t FairQueue::comparisons() const {
  return state_->comparisons;
}

}  // namespace facet::engine
