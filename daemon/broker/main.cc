// facetd: the broker.
#include <sys/resource.h>

#include <csignal>
#include <exception>

#include "daemon/base/log.h"
#include "daemon/broker/broker.h"
#include "daemon/broker/service.h"

namespace facet::broker {
namespace {

// Every connection is a descriptor.
void raise_descriptor_limit() {
  rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// --socket, else systemd's, else the default place.
Result<BoundSocket> open_socket(const Config& config, const Places& places) {
  if (!config.socket.empty()) return BoundSocket::bind(config.socket);
  FACET_TRY(auto inherited, inherited_socket());
  if (inherited) return BoundSocket::inherited(std::move(*inherited));
  return BoundSocket::bind(places.socket);
}

int run(int argc, char** argv) {
  const Places places = default_places();
  Config config;
  config.models.folder = places.models;
  const settings::Program program{"facetd", FACET_VERSION,
                                  "Holds models once and lets every app on the machine use them.",
                                  places.config};
  if (auto exit = settings::parse(program, config_table(config), argc, argv)) return *exit;

  log::start("facetd", log::level_of(config.log_level));
  ::signal(SIGPIPE, SIG_IGN);
  raise_descriptor_limit();
  auto socket = open_socket(config, places);
  if (!socket) {
    log::error(socket.error().message);
    return 1;
  }
  asio::io_context loop(1);
  Broker broker(loop, config, std::move(*socket));
  broker.start();
  loop.run();
  log::info("stopped");
  return 0;
}

}  // namespace
}  // namespace facet::broker

int main(int argc, char** argv) {
  try {
    return facet::broker::run(argc, argv);
  } catch (const std::exception& error) {
    facet::log::error(std::string("facetd ends: ") + error.what());
    return 1;
  }
}
