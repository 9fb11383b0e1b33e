#include "daemon/engine/fair_queue.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/engine/naive_fair_queue.h"

using facet::engine::FairQueue;
using facet::engine::Owner;
using facet::test::Naive;

namespace {

// The next request, out of the queue.
FairQueue::Id take(FairQueue& queue) {
  const auto id = queue.front();
  REQUIRE(id.has_value());
  REQUIRE(queue.remove(*id));
  return *id;
}

// Serves `slices` of a millisecond to who is first, each ending a request, while every owner keeps a request
// waiting; says what each owner had.
std::vector<double> serve(FairQueue& queue, const std::vector<Owner>& owners, int slices) {
  std::vector<double> had(owners.size());
  for (size_t i = 0; i < owners.size(); ++i) queue.push(i, owners[i]);
  for (int slice = 0; slice < slices; ++slice) {
    const FairQueue::Id id = *queue.front();
    queue.started(owners[id]);
    queue.remove(id);
    queue.charge(owners[id], 1000);
    had[id] += 1000;
    queue.push(id, owners[id]);
    queue.stopped(owners[id]);
    queue.ended();
  }
  return had;
}

}  // namespace

TEST_CASE("an empty queue has no front") {
  FairQueue queue;
  CHECK_FALSE(queue.front().has_value());
  CHECK(queue.size() == 0);
  CHECK_FALSE(queue.remove(1));
  CHECK(queue.position(1) == 0);
}

TEST_CASE("inside an app first come, first served; an evicted request comes before the others") {
  FairQueue queue;
  const Owner owner{1, "app"};
  for (FairQueue::Id id : {5, 3, 9}) queue.push(id, owner);
  queue.push_front(4, owner);
  queue.push_front(7, owner);
  CHECK(queue.size() == 5);
  for (FairQueue::Id id : {7, 4, 5, 3, 9}) CHECK(take(queue) == id);
  CHECK(queue.size() == 0);
}

TEST_CASE("ids are free again after removal, and taken before") {
  FairQueue queue;
  queue.push(1, {1, "a"});
  queue.push(1, {2, "b"});
  CHECK(queue.size() == 1);
  CHECK(queue.remove(1));
  CHECK_FALSE(queue.remove(1));
  queue.push(1, {2, "b"});
  queue.push(2, {2, "b"});
  CHECK(queue.remove(1));
  queue.push(1, {2, "b"});
  CHECK(take(queue) == 2);
  CHECK(take(queue) == 1);
}

TEST_CASE("the user who did the least work is next, then its app that did the least") {
  FairQueue queue;
  queue.push(1, {1, "a"});
  queue.push(2, {1, "b"});
  queue.push(3, {2, "a"});
  queue.charge({1, "a"}, 1000);
  CHECK(queue.front() == 3U);
  queue.charge({2, "a"}, 2000);
  CHECK(queue.front() == 2U);
  queue.charge({1, "b"}, 999);
  CHECK(queue.front() == 2U);
  queue.charge({1, "b"}, 0.5);
  CHECK(take(queue) == 2);
  CHECK(take(queue) == 1);
  CHECK(take(queue) == 3);
}

TEST_CASE("what runs counts as if it cost what requests cost on average, until it has") {
  FairQueue queue;
  const Owner a{1, "a"}, b{2, "a"};
  queue.started(a);
  queue.charge(a, 1000);
  queue.stopped(a);
  queue.ended();  // so a request costs 1,000
  queue.push(1, a);
  queue.push(2, b);
  CHECK(queue.lead(a, b) == 0);
  queue.started(b);
  CHECK(queue.front() == 1U);
  queue.charge(b, 700);
  queue.charge(a, 900);
  CHECK(queue.front() == 1U);
  CHECK(queue.lead(a, b) == 200);
  queue.charge(a, 101);
  CHECK(queue.front() == 2U);
  queue.charge(b, 400);  // more than was expected
  CHECK(queue.front() == 1U);
  queue.stopped(b);
  queue.ended();
  CHECK(queue.front() == 1U);
  queue.started(b);
  queue.started(a);
  CHECK(queue.front() == 1U);
  queue.stopped(b);  // without a slice: what was expected of it is no work
  CHECK(queue.front() == 2U);
}

TEST_CASE("before anything has run, who has the fewest running is next") {
  FairQueue queue;
  for (FairQueue::Id id : {1, 2, 3}) queue.push(id, {1, "a"});
  for (FairQueue::Id id : {4, 5}) queue.push(id, {2, "a"});
  std::vector<FairQueue::Id> order;
  while (auto id = queue.front()) {
    order.push_back(*id);
    queue.started({*id <= 3 ? 1U : 2U, "a"});
    queue.remove(*id);
  }
  CHECK(order == std::vector<FairQueue::Id>{1, 4, 2, 5, 3});
}

TEST_CASE("shares follow the weights of users, and are equal among a user's apps") {
  FairQueue queue;
  const std::vector<Owner> owners{{1, "a", 1},   {2, "a", 3},   {2, "b", 3},
                                  {3, "a", 0.5}, {3, "b", 0.5}, {3, "c", 0.5}};
  const auto had = serve(queue, owners, 45000);
  const std::vector<double> fair{10000, 15000, 15000, 5000. / 3, 5000. / 3, 5000. / 3};
  for (size_t i = 0; i < owners.size(); ++i) CHECK(had[i] / 1000 == doctest::Approx(fair[i]).epsilon(0.01));
}

TEST_CASE("many apps or many requests of one user do not make its share greater") {
  FairQueue queue;
  std::vector<Owner> owners{{1, "honest"}};
  for (int i = 0; i < 1000; ++i) owners.push_back({2, "app" + std::to_string(i)});
  const auto had = serve(queue, owners, 20000);
  CHECK(had[0] / 1000 == doctest::Approx(10000).epsilon(0.01));
}

TEST_CASE("weights from 0.001 to 1000") {
  FairQueue queue;
  const auto had = serve(queue, {{1, "a", 0.001}, {2, "a", 1000}, {3, "a", 1}}, 2002002);
  CHECK(had[0] / 1000 == doctest::Approx(2).epsilon(0.51));
  CHECK(had[1] / 1000 == doctest::Approx(2000000).epsilon(0.001));
  CHECK(had[2] / 1000 == doctest::Approx(2000).epsilon(0.001));
}

TEST_CASE("a slice counts exactly after ten years of work at a tiny weight") {
  FairQueue queue;
  const Owner slow{1, "a", 0.001}, heavy{2, "a", 1000};
  queue.push(1, slow);
  for (int year = 0; year < 10; ++year) queue.charge(slow, 3.2e13);
  queue.push(2, heavy);
  CHECK(queue.lead(slow, heavy) == 0);
  queue.charge(heavy, 1000);
  CHECK(queue.lead(heavy, slow) == doctest::Approx(1));
  CHECK(queue.front() == 1U);
}

TEST_CASE("weights and charges that make no sense are bounded") {
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               endless = std::numeric_limits<double>::infinity();
  FairQueue queue;
  queue.push(1, {1, "a", nan});
  queue.push(2, {2, "a", -1});
  queue.push(3, {3, "a", endless});
  queue.push(4, {4, "a"});
  for (double micros : {nan, -5.0, 0.0}) queue.charge({1, "a"}, micros);
  CHECK(queue.lead({1, "a"}, {4, "a"}) == 0);
  for (uint64_t user : {1, 2, 3, 4})
    queue.charge({user, "a", user == 1 ? nan : user == 2 ? -1 : user == 3 ? endless : 1}, endless);
  CHECK(queue.lead({1, "a"}, {2, "a"}) == 0);
  CHECK(queue.lead({2, "a"}, {4, "a"}) > 0);
  CHECK(queue.lead({4, "a"}, {3, "a"}) > 0);
  CHECK(queue.position(1) < 4);
}

TEST_CASE("what says nothing of a request's cost is charged, and changes no estimate") {
  FairQueue queue;
  queue.started(Owner{1, "app"});
  queue.charge(Owner{1, "app"}, 100);
  queue.stopped(Owner{1, "app"});
  queue.ended();
  queue.push(1, Owner{1, "app"});
  queue.push(2, Owner{2, "app"});
  const double cost = queue.mean_cost();
  const double lead = queue.lead(Owner{1, "app"}, Owner{2, "app"});
  queue.charge_besides(Owner{2, "app"}, 1000);
  CHECK(queue.mean_cost() == cost);
  CHECK(queue.lead(Owner{1, "app"}, Owner{2, "app"}) == lead - 1000);
  CHECK(queue.front() == 1);
}

TEST_CASE("who was away starts with the others: it saved nothing") {
  FairQueue queue;
  const Owner busy{1, "a"}, back{2, "a"}, fresh{3, "a"};
  queue.push(1, back);
  take(queue);
  queue.push(2, busy);
  queue.charge(busy, 1e9);
  queue.push(3, back);
  queue.push(4, fresh);
  CHECK(queue.lead(busy, back) == 0);
  CHECK(queue.lead(busy, fresh) == 0);
}

TEST_CASE("who runs counts as active, though nothing of it waits") {
  FairQueue queue;
  const Owner running{1, "a"}, busy{2, "a"}, fresh{3, "a"};
  queue.started(running);
  queue.push(1, busy);
  queue.charge(running, 300);
  queue.charge(busy, 1000);
  queue.push(2, fresh);
  CHECK(queue.lead(fresh, running) == 0);
  CHECK(queue.lead(busy, fresh) == 700);
  queue.stopped(running);
  queue.stopped(running);  // one too many: no effect
  queue.charge(busy, 100);
  CHECK(queue.lead(busy, fresh) == 800);
  queue.remove(2);
  queue.charge(busy, 100);
  CHECK(queue.lead(busy, fresh) == 0);
}

TEST_CASE("going away does not pay a debt") {
  FairQueue queue;
  const Owner greedy{1, "a"}, patient{2, "a"};
  queue.push(1, patient);
  queue.started(greedy);
  queue.charge(greedy, 5000);
  queue.stopped(greedy);
  queue.push(2, greedy);
  CHECK(queue.lead(greedy, patient) == 5000);
  queue.remove(2);
  queue.charge(patient, 4000);
  queue.push(2, greedy);
  CHECK(queue.lead(greedy, patient) == 1000);
  queue.remove(2);
  queue.charge(patient, 2000);
  CHECK(queue.accounts() == 2);  // the debt is paid: only the other's user and app are left
  queue.push(2, greedy);
  CHECK(queue.lead(greedy, patient) == 0);
}

TEST_CASE("taking a request out and starting it loses nothing, in either order") {
  for (bool started_first : {true, false}) {
    FairQueue queue;
    const Owner owner{1, "a"}, busy{2, "a"};
    queue.push(1, owner);
    queue.push(2, busy);
    queue.charge(busy, 5000);
    if (started_first) queue.started(owner);
    queue.remove(1);
    if (!started_first) queue.started(owner);
    CHECK(queue.lead(busy, owner) == 5000);
  }
}

TEST_CASE("a user that comes and goes has no more than its share") {
  // It is away whenever it was served, and back before the next decision.
  FairQueue queue;
  const Owner flicker{1, "a"}, steady{2, "a"};
  queue.push(2, steady);
  double had = 0;
  for (int slice = 0; slice < 10000; ++slice) {
    queue.push(1, flicker);
    const Owner& owner = *queue.front() == 1 ? flicker : steady;
    if (owner.user == 1) had += 1;
    queue.remove(1);
    queue.charge(owner, 1000);
  }
  CHECK(had <= 5001);
}

TEST_CASE("before orders by user, then by app; nobody is before itself") {
  FairQueue queue;
  const Owner a{1, "a"}, b{1, "b"}, c{2, "c"};
  for (const Owner& owner : {a, b, c}) queue.started(owner);
  queue.charge(a, 10);
  queue.charge(c, 9);
  CHECK(queue.before(c, a));
  CHECK_FALSE(queue.before(a, c));
  CHECK(queue.before(c, b));
  CHECK(queue.before(b, a));
  CHECK_FALSE(queue.before(a, a));
  CHECK(queue.lead(a, b) == 0);
  CHECK(queue.lead(a, c) == 1);
  CHECK(queue.lead(c, a) == -1);
  const Owner unknown{3, "x"};  // would start where c is, after it
  CHECK(queue.before(c, unknown));
  CHECK_FALSE(queue.before(unknown, c));
  CHECK_FALSE(queue.before(unknown, unknown));
  CHECK_FALSE(queue.before(unknown, Owner{3, "y"}));
}

TEST_CASE("positions count what goes before") {
  FairQueue queue;
  for (FairQueue::Id id = 0; id < 10; ++id) queue.push(id, {1, "a"});
  for (FairQueue::Id id = 10; id < 13; ++id) queue.push(id, {2, "a"});
  CHECK(queue.position(0) == 0);
  CHECK(queue.position(10) == 1);
  CHECK(queue.position(1) == 2);
  CHECK(queue.position(9) == 12);
  CHECK(queue.position(99) == 13);
}

TEST_CASE("made-up names of apps cost memory only while they are active") {
  FairQueue queue;
  const Owner honest{1, "app"};
  queue.push(0, honest);
  // One after the other, each leaving a debt that nobody pays off.
  queue.started({2, "steady"});
  size_t most = 0;
  for (int i = 1; i <= 100000; ++i) {
    const Owner forged{2, "forged" + std::to_string(i)};
    queue.push(i, forged);
    queue.started(forged);
    queue.remove(i);
    queue.charge(forged, 100);
    queue.stopped(forged);
    most = std::max(most, queue.accounts());
  }
  CHECK(most <= FairQueue::kIdleApps + 6);
  // All at once, then gone.
  for (int i = 1; i <= 100000; ++i) queue.push(i, {2, "forged" + std::to_string(i)});
  CHECK(queue.accounts() >= 100000);
  for (int i = 1; i <= 100000; ++i) queue.remove(i);
  CHECK(queue.accounts() <= FairQueue::kIdleApps + 6);
  CHECK(queue.front() == 0U);
}

TEST_CASE("idle users are bounded too, and the greatest debts are kept") {
  FairQueue queue;
  queue.push(0, {0, "app"});
  for (uint64_t user = 1; user <= 10000; ++user) queue.charge({user, "app"}, static_cast<double>(user));
  CHECK(queue.accounts() == 2 * (FairQueue::kIdleUsers + 1));
  CHECK(queue.lead({10000, "app"}, {0, "app"}) == 10000);
  CHECK(queue.lead({1, "app"}, {0, "app"}) == 0);
}

TEST_CASE("accounts of equal work that were never active are told apart, and bounded") {
  FairQueue queue;
  for (int i = 0; i < 10000; ++i) queue.charge_besides({1, "x" + std::to_string(i)}, 5);
  CHECK(queue.accounts() <= FairQueue::kIdleApps + 1);
  FairQueue other;
  other.charge_besides({1, "a"}, 5);
  other.charge_besides({2, "a"}, 5);
  other.push(1, {2, "a"});
  other.charge({2, "a"}, 1e9);
  CHECK(other.lead({2, "a"}, {3, "a"}) == 0);  // the only one who is active sets the floor
}

TEST_CASE("random operations: the same as a plain model") {
  std::mt19937 random(1);
  const double weights[] = {0.001, 0.3, 1, 7, 1000};
  for (int round = 0; round < 60; ++round) {
    CAPTURE(round);
    FairQueue queue;
    Naive naive;
    const uint32_t users = 1 + random() % 6, apps = 1 + random() % 4, ids = 1 + random() % 30;
    auto owner = [&] {
      const uint64_t user = random() % users;
      return Owner{user, std::string(1, static_cast<char>('a' + random() % apps)), weights[user % 5]};
    };
    std::vector<Owner> running;
    for (int step = 0; step < 500; ++step) {
      const uint64_t id = random() % ids;
      const Owner who = owner();
      switch (random() % 8) {
        case 0:
        case 1: {
          const bool front = random() % 4 == 0;
          front ? queue.push_front(id, who) : queue.push(id, who);
          naive.push(id, who, front);
          break;
        }
        case 2:
          CHECK(queue.remove(id) == naive.remove(id));
          break;
        case 3: {
          if (!naive.front()) break;
          running.push_back(naive.owners().at(*naive.front()));
          queue.remove(*queue.front());
          naive.remove(*naive.front());
          queue.started(running.back());
          naive.started(running.back());
          break;
        }
        case 4: {
          const bool known = !running.empty() && random() % 8 != 0;
          const Owner ends = known ? running.back() : who;
          if (known) running.pop_back();
          queue.stopped(ends);
          naive.stopped(ends);
          if (random() % 2 == 0) {
            queue.ended();
            naive.ended();
          }
          break;
        }
        default: {
          const Owner works = running.empty() || random() % 8 == 0 ? who : running[random() % running.size()];
          const double micros = static_cast<double>(1 + random() % 5000);
          queue.charge(works, micros);
          naive.charge(works, micros);
        }
      }
      REQUIRE(queue.size() == naive.owners().size());
      REQUIRE(queue.front().has_value() == (naive.front() != nullptr));
      if (naive.front()) REQUIRE(*queue.front() == *naive.front());
      const Owner a = owner(), b = owner();
      REQUIRE(queue.before(a, b) == naive.before(a, b));
      REQUIRE(queue.lead(a, b) ==
              static_cast<double>(naive.standing(a.user).work - naive.standing(b.user).work) / (1 << 20));
      if (step % 10 == 0 && naive.owners().contains(id)) REQUIRE(queue.position(id) == naive.position(id));
    }
  }
}

TEST_CASE("operations grow with the logarithm of what waits") {
  auto comparisons = [](uint64_t requests) {
    FairQueue queue;
    auto owner = [&](uint64_t id) {
      return Owner{id % (requests / 200), std::to_string(id % (requests / 10))};
    };
    for (uint64_t id = 0; id < requests; ++id) queue.push(id, owner(id));
    const uint64_t before = queue.comparisons();
    for (int i = 0; i < 1000; ++i) {
      const FairQueue::Id id = *queue.front();
      queue.started(owner(id));
      queue.remove(id);
      queue.charge(owner(id), 1000 + i);
      queue.push(id, owner(id));
      queue.stopped(owner(id));
    }
    return static_cast<double>(queue.comparisons() - before) / 1000;
  };
  const double few = comparisons(1000), many = comparisons(100000);
  MESSAGE("comparisons for a decision: " << few << " with 1,000 waiting, " << many << " with 100,000");
  CHECK(few > 1);
  CHECK(many / few <= std::log(100000.) / std::log(1000.) * 1.5);
}
