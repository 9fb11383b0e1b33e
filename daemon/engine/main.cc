// facet-engine: the engine on a thread of its own, its link to the broker on the main one.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <thread>

#include "daemon/base/log.h"
#include "daemon/engine/cache_plan.h"
#include "daemon/engine/engine.h"
#include "daemon/engine/link_session.h"
#include "daemon/link/engine_settings.h"

namespace facet::engine {
namespace {

Result<EngineOptions> options_of(const link::EngineSettings& settings) {
  EngineOptions options;
  options.backend = settings.backend;
  options.threads = settings.threads;
  FACET_TRY(options.cache_type, cache_type_of(settings.cache));
  options.cache_bytes = settings.cache_bytes;
  options.context = settings.context;
  options.max_sequences = settings.max_sequences;
  options.max_waiting = settings.max_waiting;
  options.chunk = settings.chunk;
  options.background_nice = settings.background_nice;
  options.packing = {packed_weights_folder(settings.packed_weights), settings.packed_weights_bytes,
                     PackingOptions::Make::kBackground};
  return options;
}

// Until the link ends.
Result<void> serve(UniqueFd socket) {
  FACET_TRY(auto session, LinkSession::create(std::move(socket)));
  LinkSession& broker = *session;
  FACET_TRY(const auto hello, broker.receive_hello());
  link::EngineSettings settings;
  FACET_CHECK(settings::take_lines(link::engine_table(settings), hello.settings));
  FACET_TRY(const EngineOptions options, options_of(settings));
  FACET_TRY(auto engine, Engine::create(options, [&broker](link::FromEngine event) { broker.send(event); }));
  broker.send(engine->hello());

  std::optional<std::string> failed;  // the engine thread's until it is joined
  std::thread thread([&] {
    try {
      engine->run();
    } catch (const std::exception& error) {
      failed = error.what();
      broker.stop();
    }
  });
  auto ended = broker.run([&](link::ToEngine message) { engine->post(std::move(message)); });
  engine->stop();
  thread.join();
  broker.close();  // before the engine's end, which waits for a load that was begun
  if (failed) return Error{FACET_INTERNAL, *failed};
  return ended;
}

// The link that systemd hands over: a connection, or a socket on which the broker's is awaited. One broker is
// served; another waits for the next engine, which systemd starts.
Result<UniqueFd> systemd_link() {
  if (::sd_listen_fds(1) != 1) {
    return Error{FACET_INVALID_ARGUMENT,
                 "there is no link: facetd starts this program, or systemd with one socket"};
  }
  UniqueFd given(SD_LISTEN_FDS_START);
  if (::sd_is_socket_unix(given.get(), SOCK_STREAM, 0, nullptr, 0) > 0) return given;
  if (::sd_is_socket_unix(given.get(), SOCK_STREAM, 1, nullptr, 0) <= 0) {
    return Error{FACET_INVALID_ARGUMENT, "what systemd handed over is no Unix stream socket"};
  }
  for (;;) {
    UniqueFd broker(::accept4(given.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (broker) return broker;
    if (errno == EAGAIN) {
      pollfd waits = {given.get(), POLLIN, 0};
      ::poll(&waits, 1, -1);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      return Error{FACET_IO, std::string("cannot accept the broker: ") + std::strerror(errno)};
    }
  }
}

// The link that facetd made when it started this program, which shall not outlive it.
Result<UniqueFd> inherited_link(uint32_t fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::fcntl(static_cast<int>(fd), F_SETFD, FD_CLOEXEC) == 0) return UniqueFd(static_cast<int>(fd));
  return Error{FACET_INVALID_ARGUMENT, "--link-fd " + std::to_string(fd) + " is not open"};
}

int run(int argc, char** argv) {
  uint32_t link_fd = 0;
  std::string log_level = "info";
  const settings::Table table = {
      {"", "link-fd", "N", "the descriptor of the connected link; 0: systemd hands it over", &link_fd,
       settings::Place::kFlag, 0, 1 << 20},
      {"",
       "log-level",
       "LEVEL",
       "the least that is logged",
       &log_level,
       settings::Place::kFlag,
       0,
       0,
       {"debug", "info", "warning", "error"}}};
  const settings::Program program{"facet-engine", FACET_VERSION,
                                  "Owns models for facetd, which starts it or meets it at systemd's socket.",
                                  ""};
  if (auto exit = settings::parse(program, table, argc, argv)) return *exit;

  log::start("facet-engine", log::level_of(log_level));
  ::signal(SIGPIPE, SIG_IGN);
  auto socket = link_fd != 0 ? inherited_link(link_fd) : systemd_link();
  auto ended = socket ? serve(std::move(*socket)) : Result<void>(socket.error());
  if (!ended) log::error("the engine ends: " + ended.error().message);
  return ended ? 0 : 1;
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
