#include "tests/sim/workload.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace facet::sim {

namespace {

// The same numbers on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // In [0, 1).
  double next() {
    state_ += 0x9e3779b97f4a7c15;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// Draws a rank below `ranks`.
class Zipf {
 public:
  explicit Zipf(uint32_t ranks) {
    double sum = 0;
    for (uint32_t rank = 1; rank <= ranks; ++rank) sums_.push_back(sum += 1.0 / rank);
  }
  uint32_t draw(Random& random) const {
    const double at = random.next() * sums_.back();
    return static_cast<uint32_t>(std::upper_bound(sums_.begin(), sums_.end(), at) - sums_.begin());
  }

 private:
  std::vector<double> sums_;
};

// Each length as likely as any of the same magnitude.
uint32_t draw_length(Random& random, uint32_t shortest, uint32_t longest) {
  return static_cast<uint32_t>(shortest * std::pow(static_cast<double>(longest) / shortest, random.next()));
}

size_t draw_class(Random& random, const Crowd& crowd) {
  double at = random.next();
  for (size_t c = 0; c + 1 < kClasses; ++c) {
    if (at < crowd.classes[c]) return c;
    at -= crowd.classes[c];
  }
  return kClasses - 1;
}

}  // namespace

std::vector<Request> make_requests(const Crowd& crowd) {
  Random random(crowd.seed);
  const Zipf users(crowd.users), apps(crowd.apps / crowd.users);
  std::vector<Request> requests;
  for (uint64_t id = 0; id < crowd.requests; ++id) {
    const uint32_t user = users.draw(random);
    engine::Owner owner{user, "app" + std::to_string(apps.draw(random)),
                        crowd.weights[user % crowd.weights.size()]};
    const size_t priority = draw_class(random, crowd);
    const uint32_t prompt = draw_length(random, 16, crowd.longest_prompt);
    requests.push_back(
        {id, priority, std::move(owner), 0, prompt, draw_length(random, 4, crowd.longest_output)});
  }
  return requests;
}

}  // namespace facet::sim
