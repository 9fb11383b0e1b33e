// facet-engine: the engine on a thread of its own, its link to the broker on the main one.
#include <fcntl.h>
#include <sys/prctl.h>

#include <atomic>
#include <csignal>
#include <exception>
#include <thread>

#include "daemon/base/log.h"
#include "daemon/engine/engine.h"
#include "daemon/engine/link_session.h"
#include "daemon/link/engine_settings.h"

namespace facet::engine {
namespace {

EngineOptions options_of(const link::EngineSettings& settings) {
  EngineOptions options;
  options.backend = settings.backend;
  options.threads = settings.threads;
  options.cache_f32 = settings.cache == "f32";
  options.cache_bytes = settings.cache_bytes;
  options.context = settings.context;
  options.max_sequences = settings.max_sequences;
  options.max_waiting = settings.max_waiting;
  options.chunk = settings.chunk;
  return options;
}

// Until the link ends. False if something failed.
bool serve(const link::EngineSettings& settings, UniqueFd socket) {
  auto session = LinkSession::create(std::move(socket));
  if (!session) return log::error(session.error().message), false;
  LinkSession& broker = **session;
  auto engine =
      Engine::create(options_of(settings), [&broker](link::FromEngine event) { broker.send(event); });
  if (!engine) return log::error(engine.error().message), false;

  std::atomic<bool> failed = false;
  std::thread thread([&] {
    try {
      (*engine)->run();
    } catch (const std::exception& error) {
      log::error(std::string("the engine ends: ") + error.what());
      failed = true;
      broker.stop();
    }
  });
  auto ended =
      broker.run((*engine)->hello(), [&](link::ToEngine message) { (*engine)->post(std::move(message)); });
  if (!ended) log::error("link: " + ended.error().message);
  (*engine)->stop();
  thread.join();
  return ended.ok() && !failed;
}

int run(int argc, char** argv) {
  link::EngineSettings settings;
  uint32_t link_fd = 3;
  std::string log_level = "info";
  settings::Table table = link::engine_table(settings);
  table.push_back({"", "link-fd", "N", "the descriptor of the connected link", &link_fd,
                   settings::Place::kFlag, 0, 1 << 20});
  table.push_back({"", "log-level", "LEVEL", "the least that is logged: debug, info, warning or error",
                   &log_level, settings::Place::kFlag});
  const settings::Program program{"facet-engine", FACET_VERSION, "Owns models for facetd, which starts it.",
                                  ""};
  if (auto exit = settings::parse(program, table, argc, argv)) return *exit;

  log::start("facet-engine", log::level_of(log_level));
  ::signal(SIGPIPE, SIG_IGN);
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::fcntl(static_cast<int>(link_fd), F_SETFD, FD_CLOEXEC) != 0) {
    log::error("--link-fd " + std::to_string(link_fd) + " is not open: facetd starts this program");
    return 1;
  }
  return serve(settings, UniqueFd(static_cast<int>(link_fd))) ? 0 : 1;
}

}  // namespace
}  // namespace facet::engine

int main(int argc, char** argv) {
  try {
    return facet::engine::run(argc, argv);
  } catch (const std::exception& error) {
    facet::log::error(std::string("facet-engine ends: ") + error.what());
    return 1;
  }
}
