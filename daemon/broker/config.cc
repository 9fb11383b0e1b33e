#include "daemon/broker/config.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace facet::broker {
namespace {

using settings::Place;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool serves_system() {
  const uid_t user = ::geteuid();
  const passwd* facet = ::getpwnam("facet");
  return user == 0 || (facet && facet->pw_uid == user);
}

settings::Setting limit(const char* name, const char* help, uint32_t* target) {
  return {"limits", name, "N", help, target, Place::kAnywhere, 1, 1 << 20};
}

settings::Setting limit(const char* name, const char* help, uint64_t* target) {
  return {"limits", name, "BYTES", help, target, Place::kAnywhere, 1 << 10, 1ull << 40};
}

}  // namespace

settings::Table config_table(Config& config) {
  settings::Table table = {
      {"", "socket", "PATH", "where clients connect", &config.socket},
      {"",
       "log-level",
       "LEVEL",
       "the least that is logged",
       &config.log_level,
       Place::kAnywhere,
       0,
       0,
       {"debug", "info", "warning", "error"}},
      {"", "model", "PATH", "offers a model file under its name; the first is the default",
       &config.models.paths, Place::kFlag},
      {"", "models", "FOLDER", "every NAME.gguf there is offered", &config.models.folder},
      {"", "default-model", "NAME", "for requests that name none; empty: the first",
       &config.models.default_name},
      {"engine", "engine-program", "PATH", "the engine; empty: facet-engine beside facetd",
       &config.engine_program},
      {"engine", "engine-socket", "PATH", "connects to an engine there instead of starting one",
       &config.engine_socket},
  };
  for (auto& setting : link::engine_table(config.engine)) table.push_back(std::move(setting));
  PolicyLimits& limits = config.limits;
  table.insert(table.end(),
               {limit("connections", "connections at once", &limits.connections),
                limit("user-connections", "connections of one user", &limits.user_connections),
                limit("open-requests", "open requests of one connection", &limits.open_requests),
                limit("user-requests", "open requests of one user", &limits.user_requests),
                limit("connection-bytes", "bytes outstanding of one connection", &limits.connection_bytes),
                limit("user-bytes", "bytes outstanding of one user", &limits.user_bytes)});
  table.push_back(
      {"model", "path", "PATH", "the file of the model NAME", &config.models.named, Place::kFile});
  return table;
}

Places default_places() {
  if (serves_system()) return {"/run/facet/facet.sock", "/etc/facet/facetd.toml", "/var/lib/facet/models"};
  const std::string home = environment("HOME");
  const auto place = [&](const char* variable, const std::string& otherwise, const char* rest) {
    const std::string base = environment(variable);
    return (base.empty() ? otherwise : base) + rest;
  };
  return {place("XDG_RUNTIME_DIR", "/run/user/" + std::to_string(::geteuid()), "/facet/facet.sock"),
          place("XDG_CONFIG_HOME", home + "/.config", "/facet/facetd.toml"),
          place("XDG_DATA_HOME", home + "/.local/share", "/facet/models")};
}

EngineLaunch launch_of(Config& config) {
  EngineLaunch launch{config.engine_socket, config.engine_program, {"--log-level=" + config.log_level}, {}};
  if (launch.program.empty()) {
    std::error_code failed;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", failed);
    launch.program = (self.parent_path() / "facet-engine").string();
  }
  launch.hello.settings = settings::lines(link::engine_table(config.engine));
  return launch;
}

}  // namespace facet::broker
