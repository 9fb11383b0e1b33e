// Scenarios of a few users each: what they may expect of each other, and what no one may gain by a trick.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "tests/sim/checks.h"
#include "tests/sim/clients.h"
#include "tests/sim/simulator.h"
#include "tests/sim/workload.h"

using namespace facet::sim;
using facet::engine::FairQueue;

namespace {

// Times to the first token of 60 interactive requests, one every 3 seconds, beside what `add_others` adds.
template <typename Add>
std::vector<double> first_tokens(Add add_others) {
  Clients clients;
  add_others(clients);
  for (uint64_t i = 0; i < 60; ++i) {
    clients.simulator.submit(
        {Clients::kForeign + i, kInteractive, {1, "person"}, 3e6 * static_cast<double>(i), 64, 32});
  }
  clients.simulator.run_until(3e6 * 60);
  std::vector<double> times;
  for (uint64_t i = 0; i < 60; ++i) {
    const Times& t = clients.simulator.times(Clients::kForeign + i);
    REQUIRE(t.first_token >= 0);
    times.push_back(t.first_token - t.arrival);
  }
  return times;
}

}  // namespace

TEST_CASE("the ideal device") {
  CHECK(fluid_finishes({{10, 1}, {30, 1}, {10, 1}}) == std::vector<double>{30, 50, 30});
  CHECK(fluid_finishes({{10, 1}, {10, 3}}) == std::vector<double>{20, 40. / 3});
}

TEST_CASE("a small crowd: fair shares, minimum shares, nobody starves") {
  Crowd crowd;
  crowd.users = 25;
  crowd.apps = 250;
  crowd.requests = 25000;
  crowd.longest_prompt = 256;
  crowd.longest_output = 16;
  check_crowd({}, crowd);
}

TEST_CASE("the same workload gives the same result") {
  Crowd crowd;
  crowd.requests = 1000;
  Simulator a({}), b({});
  for (Simulator* simulator : {&a, &b}) {
    for (Request& request : make_requests(crowd)) simulator->submit(std::move(request));
    simulator->run();
  }
  CHECK(a.now() == b.now());
  CHECK(a.comparisons() == b.comparisons());
  for (uint64_t id = 0; id < crowd.requests; ++id) REQUIRE(a.times(id).finished == b.times(id).finished);
}

TEST_CASE("an urgent request waits for the slice in work and for what others are owed, never for a prompt") {
  const Settings settings;
  const auto alone = first_tokens([](Clients&) {});
  const auto beside = first_tokens([](Clients& clients) {
    clients.add({{2, "a"}, kBackground, 2000, 256}, 8);
    clients.add({{3, "b"}, kStandard, 2000, 256}, 8);
  });
  const double turn = settings.quantum + settings.cost.slice;
  for (size_t i = 0; i < alone.size(); ++i) CHECK(beside[i] <= alone[i] + settings.cost.slice + 2 * turn);
}

TEST_CASE("a user who divides its work among a thousand apps has one share") {
  Clients clients;
  clients.add({{1, "honest"}, kBackground, 200, 20}, 20);
  clients.add({{2, "app"}, kBackground, 200, 20, 0, 1000}, 1000);
  clients.simulator.run_until(100e6);
  CHECK(clients.part(1) == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE("many tiny requests weigh what they cost") {
  Clients clients;
  clients.add({{1, "long"}, kBackground, 2000, 50}, 20);
  clients.add({{2, "tiny"}, kBackground, 1, 1}, 5000);
  clients.simulator.run_until(100e6);
  CHECK(clients.part(1) == doctest::Approx(0.5).epsilon(0.02));
}

TEST_CASE("a user that comes and goes has no more than its share") {
  for (double pause : {1.0, 1000.0, 20000.0}) {
    CAPTURE(pause);
    Clients clients;
    clients.add({{1, "steady"}, kBackground, 200, 20}, 50);
    clients.add({{2, "flicker"}, kBackground, 500, 1, pause}, 20);
    clients.simulator.run_until(100e6);
    CHECK(clients.part(2) <= 0.51);
    CHECK(clients.part(1) >= 0.49);
  }
}

TEST_CASE("who was away for long has its share from then on, and no more") {
  Clients clients;
  auto had = [&](uint64_t user) { return clients.simulator.users(kBackground).at(user).work; };
  clients.add({{1, "steady"}, kBackground, 200, 20}, 50);
  clients.simulator.submit({Clients::kForeign, kBackground, {2, "back"}, 0, 200, 20});
  clients.simulator.run_until(50e6);
  const double steady = had(1), back = had(2);
  CHECK(back > 0);
  CHECK(back < 0.01 * steady);
  clients.add({{2, "back"}, kBackground, 200, 20}, 50);
  clients.simulator.run_until(60e6);
  CHECK(had(2) - back == doctest::Approx(had(1) - steady).epsilon(0.05));
}

TEST_CASE("weights from 0.001 to 1000") {
  Clients clients;
  const double weights[] = {0.001, 1, 1000};
  for (uint64_t i = 0; i < 3; ++i) clients.add({{i, "a", weights[i]}, kBackground, 200, 20}, 50);
  clients.simulator.run_until(200e6);
  const double longest = clients.simulator.longest_request(kBackground) / clients.simulator.busy(kBackground);
  for (uint64_t i = 0; i < 3; ++i) CHECK(std::abs(clients.part(i) - weights[i] / 1001.001) <= 1.5 * longest);
  CHECK(clients.part(0) > 0);
}

TEST_CASE("a hundred thousand made-up names: bounded memory, and nothing gained") {
  Clients clients;
  clients.add({{1, "honest"}, kBackground, 20, 2}, 20);
  clients.add({{2, "forged"}, kBackground, 20, 2, 0, 100000}, 40);
  size_t most = 0;
  while (clients.simulator.now() < 60e6 && clients.simulator.step()) {
    most = std::max(most, clients.simulator.accounts());
  }
  CHECK(clients.simulator.apps(kBackground).size() > 10000);
  CHECK(most <= FairQueue::kIdleApps + 20 + 40 + 4);
  CHECK(clients.part(1) == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE(
    "a user who holds all slots gives way to one who had less; nothing is lost, at the cost of reading "
    "again") {
  std::array<double, 2> busy{};
  for (bool take_over : {false, true}) {
    CAPTURE(take_over);
    Settings settings;
    if (take_over) settings.take_over = 200e3;
    Simulator simulator(settings);
    for (uint64_t id = 0; id < 64; ++id) simulator.submit({id, kBackground, {1, "greedy"}, 0, 500, 2000});
    for (uint64_t id = 64; id < 80; ++id) simulator.submit({id, kBackground, {2, "patient"}, 1e6, 500, 50});
    simulator.run();
    const double waited = simulator.times(64).started - 1e6;
    CHECK((waited <= 250e3) == take_over);
    CHECK((simulator.evictions() > 0) == take_over);
    busy[take_over] = simulator.busy(kBackground);
    for (uint64_t id = 0; id < 80; ++id) CHECK(simulator.times(id).finished > 0);
  }
  CHECK(busy[true] > busy[false]);
}

TEST_CASE("requests that are cancelled leave nothing behind, and their ids are free again") {
  Crowd crowd;
  crowd.users = 20;
  crowd.apps = 100;
  crowd.requests = 2000;
  Simulator simulator({});
  const std::vector<Request> requests = make_requests(crowd);
  for (int round = 0; round < 3; ++round) {
    for (Request request : requests) {
      request.arrival = simulator.now();
      simulator.submit(std::move(request));
    }
    for (int i = 0; i < 200; ++i) simulator.step();
    for (const Request& request : requests) {
      if (request.id % 3 != 0) simulator.cancel(request.id);
    }
    simulator.run();
    for (size_t c = 0; c < kClasses; ++c) {
      CHECK(simulator.waiting(c) == 0);
      for (const auto& [key, user] : simulator.users(c)) CHECK(user.waiting + user.running == 0);
    }
    for (const Request& request : requests) {
      if (request.id % 3 == 0) REQUIRE(simulator.times(request.id).finished >= 0);
    }
  }
}
