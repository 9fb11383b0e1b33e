// 100,000 requests of 10,000 apps of 500 users, all there at once.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <string>

#include "tests/sim/checks.h"
#include "tests/sim/simulator.h"
#include "tests/sim/workload.h"

using namespace facet::sim;

namespace {

double comparisons_to_serve(uint32_t requests) {
  Crowd crowd;
  crowd.requests = requests;
  crowd.apps = requests / 10;
  crowd.users = requests / 200;
  crowd.longest_prompt = 64;
  crowd.longest_output = 8;
  Simulator simulator({});
  for (Request& request : make_requests(crowd)) simulator.submit(std::move(request));
  simulator.run();
  return static_cast<double>(simulator.scheduler().comparisons());
}

}  // namespace

TEST_CASE("a crowd: fair shares, minimum shares, nobody starves") {
  check_crowd({}, Crowd{});
}

TEST_CASE("serving all grows no faster than n log n") {
  const double few = comparisons_to_serve(10000), many = comparisons_to_serve(100000);
  MESSAGE("comparisons to serve 10,000: " << few << ", 100,000: " << many);
  CHECK(many / few <= 10 * std::log(1e5) / std::log(1e4) * 1.1);
}

TEST_CASE("a decision with 100,000 waiting") {
  using facet::engine::RunCosts, facet::engine::Scheduler, facet::engine::Share;
  Scheduler scheduler;
  const std::vector<Request> requests = make_requests({});
  for (const Request& request : requests) scheduler.add(request.id, request.priority, request.owner);
  CHECK(scheduler.waiting() == requests.size());
  facet::engine::ClassShare classes;
  const RunCosts costs(4000);
  const auto fits = [&](uint64_t, const std::vector<uint64_t>& gone) {
    return scheduler.running() - gone.size() < 64;
  };
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point begin) {
    return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
  };
  std::vector<double> decided, charged, both, parts_of_step;
  for (int i = 0; i < 20000; ++i) {
    const auto begin = Clock::now();
    while (const auto admission = scheduler.admit(0, fits)) {
      for (const uint64_t id : admission->evicted) scheduler.evict(id, requests[admission->id].priority);
      scheduler.start(admission->id);
      scheduler.update(admission->id, requests[admission->id].prompt, false, 0);
    }
    std::array<bool, kClasses> ready{};
    for (size_t c = 0; c < kClasses; ++c) ready[c] = scheduler.ready(c);
    const auto which = classes.next(ready);
    REQUIRE(which.has_value());
    const std::vector<Share> parts = scheduler.plan(*which, scheduler.step_size(*which, 320, costs, 0), 256);
    decided.push_back(since(begin));
    const auto charging = Clock::now();
    for (const Share& part : parts) {
      scheduler.charge(*which, requests[part.id].owner, 4000. / static_cast<double>(parts.size()));
    }
    classes.ran(*which, 4000, ready);
    charged.push_back(since(charging));
    both.push_back(decided.back() + charged.back());
    parts_of_step.push_back(static_cast<double>(parts.size()));
    // The first of them ends and comes again; the others have read their prompts.
    for (const Share& part : parts) scheduler.update(part.id, 1, false, 0);
    const Request& ended = requests[parts.front().id];
    scheduler.remove(ended.id);
    scheduler.add(ended.id, ended.priority, ended.owner);
  }
  // A report: what a clock says decides nothing.
  const auto report = [](const std::string& what, std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    MESSAGE(what << ": median " << values[values.size() / 2] << ", 99% " << values[values.size() * 99 / 100]);
  };
  report("who starts, which class runs and what its step consists of, us", decided);
  report("what the parts of a slice are charged, us", charged);
  report("both, us", both);
  report("parts of a slice", parts_of_step);
}
