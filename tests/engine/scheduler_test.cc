#include "daemon/engine/scheduler.h"

#include <doctest/doctest.h>

#include <string>
#include <utility>

using facet::engine::Owner;
using facet::engine::Scheduler;
using facet::engine::Share;

namespace {

constexpr size_t kUrgent = 0, kStandard = 1, kBackground = 2;

Owner owner(uint64_t user, const std::string& app = "app") {
  return {user, app, 1};
}

// A running request with something to do.
void run(Scheduler& scheduler, uint64_t id, size_t which, const Owner& whose, uint32_t pending,
         bool paused = false) {
  scheduler.add(id, which, whose);
  scheduler.start(id);
  scheduler.update(id, pending, paused, 0);
}

using Plan = std::vector<std::pair<uint64_t, uint32_t>>;

Plan plan(const Scheduler& scheduler, size_t which, uint32_t rows, uint32_t chunk,
          uint32_t generating = 100) {
  Plan plan;
  for (const Share& share : scheduler.plan(which, {rows, generating}, chunk))
    plan.emplace_back(share.id, share.rows);
  return plan;
}

}  // namespace

TEST_CASE("a step has all that generate, then prompts in order of arrival") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 100);
  run(scheduler, 2, kStandard, owner(1), 1);
  run(scheduler, 3, kStandard, owner(1), 50);
  run(scheduler, 4, kStandard, owner(1), 1);
  CHECK(plan(scheduler, kStandard, 64, 40) == Plan{{2, 1}, {4, 1}, {1, 40}, {3, 22}});
  CHECK(plan(scheduler, kStandard, 1, 40) == Plan{{2, 1}, {4, 1}});
  CHECK(plan(scheduler, kStandard, 12, 40) == Plan{{2, 1}, {4, 1}, {1, 10}});
  CHECK(scheduler.generating(kStandard) == 2);
}

TEST_CASE("of those who generate not all may have a row: users by turns, and each one's requests by turns") {
  Scheduler scheduler;
  for (uint64_t id = 1; id <= 3; ++id) run(scheduler, id, kStandard, owner(1), 1);
  run(scheduler, 4, kStandard, owner(2), 1);
  run(scheduler, 5, kStandard, owner(2), 50);
  scheduler.charge(kStandard, owner(1), 5000);
  const auto step = [&](uint32_t generating) {
    const Plan parts = plan(scheduler, kStandard, generating, 40, generating);
    for (const auto& [id, rows] : parts) scheduler.update(id, 1, false, 0);
    return parts;
  };
  CHECK(step(1) == Plan{{4, 1}});
  CHECK(step(2) == Plan{{4, 1}, {1, 1}});
  CHECK(step(3) == Plan{{4, 1}, {2, 1}, {3, 1}});
  CHECK(step(2) == Plan{{4, 1}, {1, 1}});
  scheduler.charge(kStandard, owner(2), 9000);
  CHECK(step(1) == Plan{{2, 1}});
  CHECK(step(1) == Plan{{3, 1}});
  CHECK(plan(scheduler, kStandard, 10, 40, 3) == Plan{{1, 1}, {4, 1}, {2, 1}, {5, 7}});
}

TEST_CASE("who generates and is far behind has a step that lasts as long as its share of the device would") {
  using facet::engine::RunCosts, facet::engine::StepSize;
  RunCosts costs(4000);
  const auto size = [&](const Scheduler& scheduler, facet::Micros now = 0) {
    const StepSize size = scheduler.step_size(kUrgent, 1000, costs, now);
    return std::pair(size.rows, size.generating);
  };
  const auto two = [](double weight, double lead, uint32_t pending) {
    Scheduler scheduler;
    run(scheduler, 1, kUrgent, {1, "app", weight}, 1);
    for (uint64_t id = 2; id <= 9; ++id) run(scheduler, id, kUrgent, owner(2), pending);
    scheduler.charge(kUrgent, owner(2), lead);
    return scheduler;
  };
  using Size = std::pair<uint32_t, uint32_t>;
  constexpr double kFar = Scheduler::kLeadToBound;
  // What one row takes is not known: it is tried.
  CHECK(size(two(1, kFar, 500)) == Size{1, 1});
  CHECK(size(two(1, kFar, 1)) == Size{1, 1});
  for (uint32_t rows = 1, took = 5000; rows <= 64; rows *= 2, took += took / 2) costs.run(rows, took, 0);
  // 5 ms for one row, and 7.5, 11.25, 16.9, 25.3, 38, 57 for up to 64.
  CHECK(size(two(1, kFar, 500)) == Size{2, 1});
  CHECK(size(two(0.25, kFar, 500)) == Size{8, 1});
  CHECK(size(two(1, kFar, 1)) == Size{2, 2});
  CHECK(size(two(4, kFar, 1)) == Size{1, 1});
  // Who is not far behind, who is alone, and who reads bounds nothing.
  CHECK(size(two(1, kFar - 1, 500)) == Size{64, 1});
  CHECK(size(two(1, kFar - 1, 1)).second == 9);
  Scheduler one;
  run(one, 1, kUrgent, owner(1, "a"), 1);
  run(one, 2, kUrgent, owner(1, "b"), 500);
  one.charge(kUrgent, owner(1, "b"), 2 * kFar);
  CHECK(size(one) == Size{64, 1});
  run(one, 3, kUrgent, owner(2), 500);
  CHECK(size(one) == Size{64, 1});
  // Who reads has its share of the rows: here half of the 64 that take 57 ms.
  Scheduler reads;
  run(reads, 1, kUrgent, owner(1), 500);
  for (uint64_t id = 2; id <= 60; ++id) run(reads, id, kUrgent, owner(2), 1);
  CHECK(size(reads).second == 59);
  reads.charge(kUrgent, owner(2), kFar);
  CHECK(size(reads) == Size{64, 32});
  // Where a step has one row in its time, too, someone generates.
  RunCosts slow(4000);
  for (uint32_t rows = 1; rows <= 64; ++rows) slow.run(rows, 10'000'000, 0);
  CHECK(slow.rows_within(Scheduler::kStepMicros[kUrgent], 0) == 1);
  CHECK(reads.step_size(kUrgent, 1000, slow, 0).generating == 1);
  // What was measured long ago is tried again.
  CHECK(size(two(1, kFar, 500), RunCosts::kHalfLife) == Size{1, 1});
}

TEST_CASE("prompts of the user who used less go first") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 100);
  run(scheduler, 2, kStandard, owner(2), 100);
  scheduler.charge(kStandard, owner(1), 5000);
  CHECK(plan(scheduler, kStandard, 150, 100) == Plan{{2, 100}, {1, 50}});
  scheduler.charge(kStandard, owner(2), 9000);
  CHECK(plan(scheduler, kStandard, 150, 100) == Plan{{1, 100}, {2, 50}});
}

TEST_CASE("a step is of one class") {
  Scheduler scheduler;
  run(scheduler, 1, kUrgent, owner(1), 1);
  run(scheduler, 2, kBackground, owner(1), 1);
  CHECK(plan(scheduler, kUrgent, 64, 40) == Plan{{1, 1}});
  CHECK(plan(scheduler, kBackground, 64, 40) == Plan{{2, 1}});
  CHECK(plan(scheduler, kStandard, 64, 40).empty());
}

TEST_CASE("who is paused, has nothing pending, waits or was evicted has no share and makes nothing ready") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 9, true);
  run(scheduler, 2, kStandard, owner(1), 0);
  scheduler.add(3, kStandard, owner(1));
  CHECK_FALSE(scheduler.ready(kStandard));
  run(scheduler, 4, kStandard, owner(1), 9);
  CHECK(scheduler.ready(kStandard));
  CHECK(plan(scheduler, kStandard, 64, 40) == Plan{{4, 9}});
  scheduler.evict(4, kUrgent);
  CHECK_FALSE(scheduler.ready(kStandard));
  CHECK(plan(scheduler, kStandard, 64, 40).empty());
  scheduler.update(1, 9, false, 0);
  CHECK(scheduler.ready(kStandard));
  scheduler.remove(1);
  CHECK_FALSE(scheduler.ready(kStandard));
  CHECK(scheduler.running() == 1);
  CHECK(scheduler.waiting() == 2);
}

TEST_CASE("an evicted request starts before its app's others, and takes part in order of its arrival again") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 50);
  run(scheduler, 2, kStandard, owner(1), 50);
  scheduler.add(3, kStandard, owner(1));
  scheduler.evict(1, kUrgent);
  CHECK(scheduler.next_waiting(kStandard) == 1);
  scheduler.start(1);
  scheduler.update(1, 50, false, 0);
  CHECK(plan(scheduler, kStandard, 80, 50) == Plan{{1, 50}, {2, 30}});
  CHECK(scheduler.next_waiting(kStandard) == 3);
}

TEST_CASE("the least urgent gives way first: of those whose user is furthest ahead, the youngest") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 1);
  run(scheduler, 2, kBackground, owner(1), 1);
  run(scheduler, 3, kBackground, owner(2), 1);
  run(scheduler, 4, kBackground, owner(2), 1);
  scheduler.charge(kBackground, owner(2), 1000);
  scheduler.add(5, kUrgent, owner(3));
  CHECK(scheduler.victim(5, {}) == 4);
  CHECK(scheduler.victim(5, {4}) == 3);
  CHECK(scheduler.victim(5, {4, 3}) == 2);
  CHECK(scheduler.victim(5, {4, 3, 2}) == 1);
  CHECK(scheduler.victim(5, {4, 3, 2, 1}) == std::nullopt);
}

TEST_CASE("inside a class nobody gives way but to a user who is far behind") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 1);
  scheduler.add(2, kStandard, owner(2));
  CHECK(scheduler.victim(2, {}) == std::nullopt);
  scheduler.charge(kStandard, owner(1), Scheduler::kLeadToEvict / 2);
  CHECK(scheduler.victim(2, {}) == std::nullopt);
  scheduler.charge(kStandard, owner(1), Scheduler::kLeadToEvict);
  CHECK(scheduler.victim(2, {}) == 1);
  scheduler.add(3, kBackground, owner(3));
  CHECK(scheduler.victim(3, {}) == std::nullopt);  // never one that is more urgent
  scheduler.add(4, kStandard, owner(1, "another app"));
  CHECK(scheduler.victim(4, {}) == std::nullopt);  // nor for the same user
}

TEST_CASE("two users who take each other's place both get to the end of what takes long to read") {
  // One place, nothing of a prompt is kept, and each takes many times the lead that costs it the place.
  Scheduler scheduler;
  const double needed = 30 * Scheduler::kLeadToEvict, slice = Scheduler::kLeadToEvict / 20;
  for (uint64_t id : {1, 2}) scheduler.add(id, kStandard, owner(id));
  uint64_t holder = 1, other = 2;
  scheduler.start(holder);
  scheduler.update(holder, 1000, false, 0);
  double done = 0, total = 0;
  size_t evicted = 0;
  while (done < needed) {
    scheduler.charge(kStandard, owner(holder), slice);
    done += slice;
    total += slice;
    REQUIRE(total < 10 * needed);
    if (!scheduler.victim(other, {})) continue;
    REQUIRE(scheduler.victim(other, {}) == holder);
    scheduler.evict(holder, kStandard);
    std::swap(holder, other);
    scheduler.start(holder);
    scheduler.update(holder, 1000, false, 0);
    done = 0;
    ++evicted;
  }
  CHECK(evicted > 2);
}

TEST_CASE("giving way to the more urgent makes a request no harder to move for its equals") {
  Scheduler scheduler;
  scheduler.add(1, kStandard, owner(1));
  for (int i = 0; i < 5; ++i) {
    scheduler.start(1);
    scheduler.update(1, 10, false, 0);
    scheduler.evict(1, kUrgent);
  }
  scheduler.start(1);
  scheduler.add(2, kStandard, owner(2));
  scheduler.charge(kStandard, owner(1), Scheduler::kLeadToEvict);
  CHECK(scheduler.victim(2, {}) == 1);
}

TEST_CASE("a class whose share others keep from it gets a place in its turn, and keeps it for its time") {
  Scheduler scheduler;
  for (uint64_t id : {1, 2}) run(scheduler, id, kUrgent, owner(1), 10);
  scheduler.add(3, kBackground, owner(2));
  scheduler.add(4, kUrgent, owner(1));
  const auto admit = [&] {
    return scheduler.admit(0, [&](uint64_t, const std::vector<uint64_t>& gone) {
      return scheduler.running() - gone.size() < 2;
    });
  };
  const auto turns = [&](size_t which, uint64_t user, double count) {
    scheduler.charge(which, owner(user), count * Scheduler::kTurnMicros);
  };
  const double others = 1 / facet::engine::ClassShare::kMinimum;
  turns(kUrgent, 1, 0.9 * others);
  CHECK_FALSE(admit().has_value());
  turns(kUrgent, 1, 0.2 * others);
  // It goes before the more urgent one, and takes the place of the youngest.
  const auto admission = admit();
  REQUIRE(admission.has_value());
  CHECK(admission->id == 3);
  CHECK(admission->evicted == std::vector<uint64_t>{2});
  scheduler.evict(2, kBackground);
  scheduler.start(3);
  scheduler.update(3, 100, false, 0);
  CHECK_FALSE(admit().has_value());
  // One place is enough for a class in its turn.
  scheduler.add(5, kBackground, owner(2));
  CHECK_FALSE(scheduler.victim(5, {}).has_value());
  turns(kBackground, 2, 1);
  CHECK_FALSE(scheduler.victim(4, {}).has_value());
  turns(kBackground, 2, 0.5);
  CHECK(scheduler.victim(4, {}) == 3);
  scheduler.evict(3, kUrgent);
  CHECK_FALSE(scheduler.victim(3, {}).has_value());  // its class had its time

  // The next time it keeps the place twice as long.
  turns(kUrgent, 1, 1.5 * others);
  CHECK(scheduler.victim(3, {}).has_value());
  scheduler.start(3);
  scheduler.update(3, 100, false, 0);
  turns(kBackground, 2, 1.5);
  CHECK_FALSE(scheduler.victim(4, {}).has_value());
  scheduler.update(3, 100, true, 0);
  CHECK(scheduler.victim(4, {}) == 3);  // not while it cannot use it
  scheduler.update(3, 100, false, 0);
  turns(kBackground, 2, 1);
  CHECK(scheduler.victim(4, {}) == 3);
}

TEST_CASE("a class that has its share in its places has no turn") {
  Scheduler scheduler;
  run(scheduler, 1, kUrgent, owner(1), 10);
  run(scheduler, 2, kBackground, owner(2), 10);
  scheduler.add(3, kBackground, owner(2));
  scheduler.charge(kUrgent, owner(1), 1e9);
  CHECK_FALSE(scheduler.victim(3, {}).has_value());
  scheduler.add(4, kUrgent, owner(1));
  CHECK(scheduler.victim(4, {}) == 2);
}

TEST_CASE("who is evicted while it is paused waits for no place before it is resumed") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 9, true);
  scheduler.evict(1, kUrgent);
  scheduler.add(2, kStandard, owner(1));
  CHECK(scheduler.next_waiting(kStandard) == 2);
  CHECK(scheduler.waiting() == 2);
  scheduler.resume(1);
  scheduler.resume(1);
  CHECK(scheduler.next_waiting(kStandard) == 1);
  CHECK(scheduler.waiting() == 2);
  scheduler.start(1);
  scheduler.update(1, 9, true, 0);
  scheduler.resume(1);  // it runs: nothing to do
  scheduler.evict(1, kUrgent);
  scheduler.remove(1);
  CHECK(scheduler.waiting() == 1);
  CHECK(scheduler.next_waiting(kStandard) == 2);
}

TEST_CASE(
    "a reader that takes a token now and then gives its place up, one that takes them half of the time keeps "
    "it") {
  Scheduler scheduler;
  run(scheduler, 1, kStandard, owner(1), 1);
  scheduler.add(2, kStandard, owner(1));
  facet::Micros now = 0;
  // It is paused so long, then generates so long, unless its place is taken.
  const auto gives_way = [&](facet::Micros paused, facet::Micros works) {
    scheduler.update(1, 1, true, now);
    now += paused;
    const auto taken = scheduler.admit(now, [](uint64_t, const auto& gone) { return !gone.empty(); });
    scheduler.update(1, 1, false, now);
    now += works;
    return taken.has_value();
  };
  for (int i = 0; i < 20; ++i) CHECK_FALSE(gives_way(500'000, 500'000));
  CHECK_FALSE(gives_way(950'000, 50'000));
  CHECK(gives_way(950'000, 50'000));
  now += 1'000'000;
  CHECK_FALSE(gives_way(950'000, 50'000));
  CHECK(gives_way(1'000'000, 0));
}

TEST_CASE("a request that loses its place to urgent ones again and again keeps it for a step") {
  Scheduler scheduler;
  scheduler.add(1, kBackground, owner(1));
  scheduler.add(2, kUrgent, owner(2));
  for (int i = 0; i < Scheduler::kMostLost; ++i) {
    scheduler.start(1);
    scheduler.update(1, 100, false, 0);
    REQUIRE(scheduler.victim(2, {}) == 1);
    scheduler.evict(1, kUrgent);
  }
  scheduler.start(1);
  scheduler.update(1, 100, false, 0);
  CHECK_FALSE(scheduler.victim(2, {}).has_value());
  scheduler.update(1, 100, false, 0);  // its reader says something
  CHECK_FALSE(scheduler.victim(2, {}).has_value());
  scheduler.update(1, 36, false, 0);
  CHECK(scheduler.victim(2, {}) == 1);
}

TEST_CASE("what is not known is no trouble") {
  Scheduler scheduler;
  scheduler.remove(7);
  CHECK(scheduler.position(7) == 0);
  CHECK(scheduler.next_waiting(kUrgent) == std::nullopt);
}

TEST_CASE("what is to be expected: the more urgent, who must end first, its own work, and the least share") {
  Scheduler scheduler;
  const auto expected = [&](uint64_t id, size_t places) { return scheduler.expected(id, places, 500); };
  scheduler.add(9, kStandard, owner(9));
  CHECK(expected(9, 4) == 500);  // nothing is known of others
  run(scheduler, 1, kStandard, owner(1), 10);
  run(scheduler, 2, kStandard, owner(2), 10);
  scheduler.charge(kStandard, owner(1), 1500);
  scheduler.charge(kStandard, owner(2), 500);
  CHECK(expected(9, 3) == 500);
  CHECK(expected(9, 2) == 1000 + 500);  // one ends: a request costs 1000 so far
  scheduler.add(10, kStandard, owner(10));
  CHECK(scheduler.position(10) == 1);
  CHECK(expected(10, 2) == 2 * 1000 + 500);
  scheduler.remove(1);
  CHECK(expected(9, 1) == 1000 + 500);

  scheduler.charge(kUrgent, owner(3), 4000);
  scheduler.add(11, kUrgent, owner(3));
  CHECK(expected(9, 1) == 4000 + 1000 + 500);
  scheduler.charge(kUrgent, owner(3), 1e9);
  CHECK(expected(9, 1) == doctest::Approx(1500 / facet::engine::ClassShare::kMinimum));
  CHECK(expected(11, 0) == doctest::Approx(1e9 + 4000 + 500));  // nothing is more urgent
  CHECK(expected(2, 1) == 500);                                 // it runs
  CHECK(expected(77, 1) == 500);
}

TEST_CASE("a user may have as many requests wait as that leaves places for others") {
  Scheduler scheduler;
  const size_t most = 16;
  uint64_t last = 0;
  const auto flood = [&](uint64_t user) {
    size_t admitted = 0;
    // Under many names, in all classes: a user is a user.
    for (; scheduler.has_room(user, most); ++admitted) {
      ++last;
      scheduler.add(last, last % Scheduler::kClasses, owner(user, "app " + std::to_string(last)));
    }
    return admitted;
  };
  CHECK(flood(1) == 8);
  CHECK(flood(2) == 4);
  CHECK(flood(3) == 2);
  CHECK(flood(4) == 1);
  CHECK(flood(5) == 1);
  CHECK(flood(6) == 0);  // it is full
  CHECK(scheduler.waiting() == most);
  // What starts makes room, what is evicted takes it again, and what is removed leaves none behind.
  scheduler.start(1);
  CHECK(scheduler.waiting(1) == 7);
  CHECK(scheduler.has_room(6, most));
  CHECK_FALSE(scheduler.has_room(1, most));
  scheduler.evict(1, kUrgent);
  CHECK(scheduler.waiting(1) == 8);
  CHECK_FALSE(scheduler.has_room(6, most));
  CHECK_FALSE(scheduler.has_room(6, most - 1));  // fewer than wait already
  scheduler.start(2);
  for (uint64_t id = 1; id <= last; ++id) scheduler.remove(id);
  CHECK(scheduler.waiting(1) == 0);
  CHECK(flood(7) == 8);
}
