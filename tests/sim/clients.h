// Clients that each submit the same request over and over, the next when one has ended.
#pragma once

#include <vector>

#include "tests/sim/simulator.h"

namespace facet::sim {

constexpr size_t kInteractive = 0, kStandard = 1, kBackground = 2;

struct Client {
  engine::Owner owner;
  size_t priority;
  uint32_t prompt, output;
  double pause = 0;        // before the next
  uint32_t names = 0;      // if not 0, every request comes from another app, of so many
  uint64_t submitted = 0;  // so far
};

// Takes the simulator's on_finish. Request ids count from 0; what others submit has ids from kForeign on.
class Clients {
 public:
  static constexpr uint64_t kForeign = uint64_t{1} << 32;

  explicit Clients(Settings settings = {});
  Clients(const Clients&) = delete;

  // So many requests of it are there at any time.
  void add(const Client& client, uint32_t requests);
  uint64_t submitted() const { return client_of_.size(); }
  // What a user had of the time in which the device was not idle.
  double part(uint64_t user) const;

  Simulator simulator;

 private:
  void submit(size_t client);

  std::vector<Client> clients_;
  std::vector<size_t> client_of_;  // by request
};

}  // namespace facet::sim
