// Workloads: who asks for what. Zipf-like: the user of rank r asks 1 / r times as often as the first, and so
// do its apps among themselves; prompts and answers are mostly short and sometimes very long.
#pragma once

#include <cstdint>
#include <vector>

#include "tests/sim/simulator.h"

namespace facet::sim {

struct Crowd {
  uint32_t users = 500;
  uint32_t apps = 10000;  // of all users, each with the same number
  uint32_t requests = 100000;
  std::array<double, kClasses> classes{0.2, 0.3, 0.5};  // parts of the requests
  std::vector<double> weights{1, 2, 0.5, 4};            // of the users, in turn
  uint32_t longest_prompt = 2048;
  uint32_t longest_output = 128;
  uint64_t seed = 1;
};

// All of them arrive at time 0, in the order of their ids.
std::vector<Request> make_requests(const Crowd& crowd);

}  // namespace facet::sim
