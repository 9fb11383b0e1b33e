// Everything that can be set of facetd, in one table.
#pragma once

#include <string>
#include <vector>

#include "daemon/base/settings.h"
#include "daemon/broker/engine_link.h"
#include "daemon/broker/models.h"
#include "daemon/broker/policy.h"
#include "daemon/broker/prompts.h"
#include "daemon/link/engine_settings.h"

namespace facet::broker {

struct Config {
  std::string socket;  // empty: systemd's, or the default place
  std::string log_level = "info";
  ModelSources models;
  std::string engine_program;  // empty: facet-engine beside facetd
  std::string engine_socket;
  link::EngineSettings engine;
  PolicyLimits limits;
  Grants grants;
  std::vector<Prompt> prompts;  // in the file's order
};

// Refers to `config`, whose values are the defaults.
settings::Table config_table(Config& config);

// The places that depend on who runs facetd: root and the user `facet` serve the system, others themselves.
struct Places {
  std::string socket;
  std::string config;
  std::string models;
};
Places default_places();

// How `config` says to get an engine; `program` empty: facet-engine beside this program.
EngineLaunch launch_of(Config& config);

}  // namespace facet::broker
