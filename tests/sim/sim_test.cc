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
using facet::engine::ClassShare, facet::engine::FairQueue, facet::engine::Scheduler;

namespace {

constexpr double kQuantum = 4000;  // of ClassShare

// Times to the first token of 60 interactive requests, one every 3 seconds, beside what `add_others` adds.
template <typename Add, typename Look = void (*)(const Simulator&)>
std::vector<double> first_tokens(
    Add add_others, Look look = [](const Simulator&) {}) {
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
  look(clients.simulator);
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
  CHECK(a.scheduler().comparisons() == b.scheduler().comparisons());
  for (uint64_t id = 0; id < crowd.requests; ++id) REQUIRE(a.times(id).finished == b.times(id).finished);
}

TEST_CASE("an urgent request waits for the slice in work and for what others are owed, never for a prompt") {
  const auto alone = first_tokens([](Clients&) {});
  uint64_t parked = 0;
  double slice = 0;
  const auto beside = first_tokens(
      [](Clients& clients) {
        clients.add({{2, "a"}, kBackground, 2000, 256}, 8);
        clients.add({{3, "b"}, kStandard, 2000, 256}, 8);
      },
      [&](const Simulator& simulator) {
        parked = simulator.parked();
        slice = simulator.longest_slice();
        // Runs of one size differ by up to twice in their rows.
        CHECK(simulator.longest_of_many() <= 2 * Settings().slice);
      });
  CHECK(parked >= 60);
  const double turn = kQuantum + slice;
  for (size_t i = 0; i < alone.size(); ++i) CHECK(beside[i] <= alone[i] + slice + 2 * turn);
}

TEST_CASE("who generates has its tokens in time, whatever prompts come beside it") {
  // A device so slow that a whole chunk of a prompt takes twelve times as long as a step may.
  Settings settings;
  settings.cost = {10e3, 4500};
  for (size_t which = 0; which < kClasses; ++which) {
    CAPTURE(which);
    Clients clients(settings);
    Simulator& simulator = clients.simulator;
    for (uint64_t id = 0; id < 4; ++id) {
      simulator.submit({Clients::kForeign + id, which, {1, "talks"}, 0, 4, 10000});
    }
    simulator.run_until(10e6);
    clients.add({{2, "prompts"}, which, 4000, 1}, 4);
    simulator.run_until(60e6);
    // Four rows that generate and the least number beside them may take longer than a step is to; and twice
    // as many rows as fit are tried now and then, when what they cost is forgotten (RunCosts).
    const double least = settings.cost.step + settings.cost.row * (4 + Scheduler::kLeastRowsBeside);
    const double bound = std::max(least, static_cast<double>(Scheduler::kStepMicros[which]));
    for (uint64_t id = 0; id < 4; ++id) {
      CHECK(simulator.times(Clients::kForeign + id).longest_interval <= 2 * bound);
    }
  }
}

TEST_CASE("a user who divides its work among a thousand apps has one share") {
  Clients clients;
  clients.add({{1, "honest"}, kBackground, 200, 20}, 20);
  clients.add({{2, "app"}, kBackground, 200, 20, 0, 1000}, 1000);
  clients.simulator.run_until(100e6);
  CHECK(clients.part(1) == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE(
    "a user with fifty connections, eight answers each, a thousand names and huge prompts has its share "
    "alone") {
  struct Load {
    uint32_t requests, prompt, output;
  };
  // 400 requests at any time: of huge prompts, of prompts and answers, of long answers.
  constexpr Load kGreedy[] = {{400, 8000, 8}, {400, 4000, 256}, {400, 16, 400}};
  // The other one talks, tells a story, does both four times over, and reads.
  constexpr Load kModest[] = {{1, 300, 60}, {1, 64, 200}, {4, 300, 60}, {1, 3000, 20}};
  constexpr double kTime = 60e6;
  struct Had {
    double part;
    double requests;  // that ended
  };
  const auto serve = [&](const Settings& settings, size_t priority, double weight, const Load& modest,
                         const Load* greedy) {
    Clients clients(settings);
    Had had{0, 0};
    clients.simulator.on_finish = [&, again = clients.simulator.on_finish](const Request& request) {
      had.requests += request.owner.user == 1;
      again(request);
    };
    if (greedy)
      clients.add({{2, "forged"}, priority, greedy->prompt, greedy->output, 0, 1000}, greedy->requests);
    clients.add({{1, "modest", weight}, priority, modest.prompt, modest.output}, modest.requests);
    clients.simulator.run_until(kTime);
    had.part = clients.part(1);
    return had;
  };
  // Reading weights costs most, and rows do.
  Settings slow;
  slow.cost = {10e3, 4500};
  for (const Settings& settings : {Settings{}, slow}) {
    for (const double weight : {1.0, 3.0}) {
      for (const Load& modest : kModest) {
        const size_t priority = modest.requests == 4 ? kBackground : kInteractive;
        const Had alone = serve(settings, priority, weight, modest, nullptr);
        if (alone.requests < 20) continue;  // too few to tell speeds by
        for (const Load& greedy : kGreedy) {
          CAPTURE(settings.cost.row);
          CAPTURE(weight);
          CAPTURE(modest.prompt);
          CAPTURE(modest.requests);
          CAPTURE(greedy.prompt);
          const double share = weight / (weight + 1);
          const Had beside = serve(settings, priority, weight, modest, &greedy);
          const double speed = beside.requests / alone.requests;
          // By computed cost; or it has no use for more, being as fast as with its share of the device.
          CHECK(std::max(beside.part, speed) >= 0.92 * share);
          CHECK(1 - beside.part >= 0.93 * (1 - share));
        }
      }
    }
  }
}

TEST_CASE("several who talk beside one who floods each have their part of the speed") {
  constexpr uint64_t kTalkers = 3;
  std::array<double, 2> ended{};
  for (const bool flood : {false, true}) {
    Clients clients;
    clients.simulator.on_finish = [&, again = clients.simulator.on_finish](const Request& request) {
      ended[flood] += request.owner.user == 1;
      again(request);
    };
    const uint64_t talkers = flood ? kTalkers : 1;
    for (uint64_t user = 1; user <= talkers; ++user) clients.add({{user, "talks"}, kInteractive, 64, 200}, 1);
    if (flood) clients.add({{9, "forged"}, kInteractive, 8000, 8, 0, 1000}, 400);
    clients.simulator.run_until(60e6);
  }
  CHECK(ended[1] / ended[0] >= 1.0 / (kTalkers + 1));
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
    most = std::max(most, clients.simulator.scheduler().accounts());
  }
  CHECK(clients.simulator.apps(kBackground).size() > 10000);
  CHECK(most <= FairQueue::kIdleApps + 20 + 40 + 4);
  CHECK(clients.part(1) == doctest::Approx(0.5).epsilon(0.01));
}

TEST_CASE(
    "a user who holds all places gives way to one who had less; nothing is lost, at the cost of reading "
    "again") {
  Simulator simulator({});
  for (uint64_t id = 0; id < 64; ++id) simulator.submit({id, kBackground, {1, "greedy"}, 0, 500, 2000});
  for (uint64_t id = 64; id < 80; ++id) simulator.submit({id, kBackground, {2, "patient"}, 1e6, 500, 50});
  simulator.run();
  const double waited = simulator.times(64).started - 1e6;
  CHECK(waited <= Scheduler::kLeadToEvict + 2 * simulator.longest_slice());
  CHECK(simulator.evictions() > 0);
  for (uint64_t id = 0; id < 80; ++id) CHECK(simulator.times(id).finished > 0);
}

TEST_CASE("a class that could fill all places leaves the lower ones their share of the time") {
  // One place, or a few, and many people who ask again at once. A request of the background reads 2000
  // tokens, more than its class gets in one turn; what it read is lost with its place.
  for (const uint32_t places : {1, 2, 3, 8, 64}) {
    CAPTURE(places);
    Settings settings;
    settings.places = places;
    Clients clients(settings);
    Simulator& simulator = clients.simulator;
    clients.add({{1, "person"}, kInteractive, 64, 32}, 100);
    clients.add({{2, "app"}, kStandard, 500, 128}, 1);
    clients.add({{3, "batch"}, kBackground, 8000, 256}, 1);
    std::array<uint64_t, kClasses> ended{};
    simulator.on_finish = [&, again = simulator.on_finish](const Request& request) {
      ++ended[request.priority];
      again(request);
    };
    simulator.run_until(400e6);
    MESSAGE(places << " places: shares " << simulator.busy(0) / simulator.now() << " "
                   << simulator.busy(1) / simulator.now() << " " << simulator.busy(2) / simulator.now()
                   << ", ended " << ended[0] << " " << ended[1] << " " << ended[2] << ", evicted "
                   << simulator.evictions() << ", longest gaps " << simulator.longest_gap(1) / 1e6 << " "
                   << simulator.longest_gap(2) / 1e6);
    for (const size_t c : {kStandard, kBackground}) {
      CHECK(std::abs(simulator.busy(c) / simulator.now() - ClassShare::kMinimum) <= 0.005);
      CHECK(ended[c] > 0);
    }
  }
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
