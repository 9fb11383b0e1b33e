// 100,000 requests of 10,000 apps of 500 users, all there at once.
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>

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
  return static_cast<double>(simulator.comparisons());
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
  facet::engine::FairQueue queue;
  const std::vector<Request> requests = make_requests({});
  for (const Request& request : requests) queue.push(request.id, request.owner);
  CHECK(queue.size() == requests.size());
  using Clock = std::chrono::steady_clock;
  std::vector<double> micros;
  for (int i = 0; i < 20000; ++i) {
    const auto begin = Clock::now();
    const auto id = queue.front();
    REQUIRE(id.has_value());
    const facet::engine::Owner& owner = requests[*id].owner;
    queue.started(owner);
    queue.remove(*id);
    queue.charge(owner, 3000);
    micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - begin).count());
    queue.push(*id, owner);
    queue.stopped(owner);
  }
  std::sort(micros.begin(), micros.end());
  // A report: what a clock says decides nothing.
  MESSAGE("front, started, remove and charge: median " << micros[micros.size() / 2] << " us, 99% "
                                                       << micros[micros.size() * 99 / 100] << " us");
}
