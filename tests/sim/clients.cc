#include "tests/sim/clients.h"

#include <string>

namespace facet::sim {

Clients::Clients(Settings settings) : simulator(settings) {
  simulator.on_finish = [this](const Request& request) {
    if (request.id < kForeign) submit(client_of_.at(request.id));
  };
}

void Clients::add(const Client& client, uint32_t requests) {
  clients_.push_back(client);
  for (uint32_t i = 0; i < requests; ++i) submit(clients_.size() - 1);
}

double Clients::part(uint64_t user) const {
  double all = 0, had = 0;
  for (size_t c = 0; c < kClasses; ++c) {
    all += simulator.busy(c);
    auto found = simulator.users(c).find(user);
    if (found != simulator.users(c).end()) had += found->second.work;
  }
  return had / all;
}

void Clients::submit(size_t index) {
  Client& client = clients_[index];
  engine::Owner owner = client.owner;
  if (client.names > 0) owner.app += std::to_string(client.submitted % client.names);
  // The first at once.
  const double arrival = simulator.now() + (client.submitted > 0 ? client.pause : 0);
  ++client.submitted;
  client_of_.push_back(index);
  simulator.submit(
      {client_of_.size() - 1, client.priority, std::move(owner), arrival, client.prompt, client.output});
}

}  // namespace facet::sim
