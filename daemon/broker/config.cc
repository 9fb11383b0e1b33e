#include "daemon/broker/config.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "daemon/broker/sandbox.h"
#include "daemon/broker/user_ids.h"
#include "daemon/link/messages.h"
#include "sdk/protocol/limits.h"

namespace facet::broker {
namespace {

using settings::Place;

constexpr uint64_t kMostCount = 1 << 20, kMostBytes = 1ull << 40;

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
  return {"limits", name, "N", help, target, Place::kAnywhere, 1, kMostCount};
}

settings::Setting limit(const char* name, const char* help, uint64_t* target) {
  return {"limits", name, "BYTES", help, target, Place::kAnywhere, 1 << 10, kMostBytes};
}

// ---- policy

// What a user, or a user's apps in a sandbox, may ask for and hold; where nothing is said, what `otherwise`
// says.
settings::Table bounds_table(const char* section, const std::string& otherwise, Bounds& bounds) {
  static const std::vector<std::string> kClasses = {protocol::name_of(protocol::Priority::kInteractive),
                                                    protocol::name_of(protocol::Priority::kStandard),
                                                    protocol::name_of(protocol::Priority::kBackground)};
  Quota& quota = bounds.quota;
  return {{section, "classes", "LIST", "of requests that may be made", &bounds.classes, Place::kFile, 0, 0,
           kClasses},
          {section, "connections", "N", "connections at once; 0: " + otherwise, &quota.connections,
           Place::kFile, 0, kMostCount},
          {section, "requests", "N", "open requests; 0: " + otherwise, &quota.requests, Place::kFile, 0,
           kMostCount},
          {section, "bytes", "BYTES", "bytes outstanding; 0: " + otherwise, &quota.bytes, Place::kFile, 0,
           kMostBytes}};
}

settings::Table grant_table(const char* section, Grant& grant) {
  settings::Table table = bounds_table(section, "as [limits] says of a user", grant);
  table.push_back({section, "weight", "NUMBER", "of a user's share beside the others of a class",
                   settings::Decimal{&grant.weight, link::kLeastWeight, link::kMostWeight}, Place::kFile});
  return table;
}

Error named_twice(const char* what, uint32_t id) {
  return Error{FACET_INVALID_ARGUMENT,
               std::string(what) + " " + std::to_string(id) + " has an entry already"};
}

Result<settings::Table> add_user(Grants& grants, const std::string& key) {
  FACET_TRY(const uid_t user, user_of(key));
  const auto [entry, added] = grants.users.emplace(user, grants.everybody);
  if (!added) return named_twice("user", user);
  return grant_table("policy.user", entry->second);
}

Result<settings::Table> add_group(Grants& grants, const std::string& key) {
  FACET_TRY(const gid_t id, group_of(key));
  for (const auto& [other, grant] : grants.groups) {
    if (other == id) return named_twice("group", id);
  }
  return grant_table("policy.group", grants.groups.emplace_back(id, grants.everybody).second);
}

settings::Table sandbox_table(Bounds& bounds) {
  return bounds_table("policy.sandbox", "all that the user may have", bounds);
}

Result<settings::Table> add_sandbox(Grants& grants, const std::string& key) {
  if (!is_sandbox(key)) {
    return Error{FACET_INVALID_ARGUMENT,
                 "'" + key + "' names no sandbox, as flatpak:ID, snap:NAME and unknown do"};
  }
  // No key comes twice in a file.
  return sandbox_table(grants.sandboxes.emplace(key, grants.sandboxed).first->second);
}

settings::Table policy_table(Grants& grants) {
  settings::Table table = grant_table("policy", grants.everybody);
  const auto keyed = [&grants](const char* section, const char* help, auto add, auto example) {
    const auto add_to = [&grants, add](const std::string& key) { return add(grants, key); };
    return settings::Setting{section, "", "", help, settings::Keyed{add_to, example}, Place::kFile};
  };
  const auto of_all = [&grants](const char* section) {
    return [&grants, section] { return grant_table(section, grants.everybody); };
  };
  table.push_back(keyed("policy.user", "one user, by name or number; what is left out is as in [policy]",
                        add_user, of_all("policy.user")));
  table.push_back(keyed("policy.group",
                        "a group's users who have no entry; of several groups the first in the file counts",
                        add_group, of_all("policy.group")));
  for (auto& setting : sandbox_table(grants.sandboxed)) table.push_back(std::move(setting));
  table.push_back(
      keyed("policy.sandbox",
            "a user's apps in one sandbox: \"flatpak:ID\", \"snap:NAME\" or \"unknown\"; what is left "
            "out is as in [policy.sandbox]",
            add_sandbox, [&grants] { return sandbox_table(grants.sandboxed); }));
  return table;
}

// ---- prompts

settings::Table prompt_table(Prompt& prompt) {
  const auto text = [](const char* name, const char* value, const char* help, std::string* target) {
    return settings::Setting{"prompt", name, value, help, target, Place::kFile};
  };
  return {
      text("model", "NAME", "for chats with this model; empty: the default", &prompt.model),
      text("system", "TEXT", "the system message, as apps send it; several lines stand between \"\"\"",
           &prompt.system),
      text("system-file", "PATH", "a file with that text, instead", &prompt.system_file),
      {"prompt", "thinking", "", "of chats in which the model may think", &prompt.thinking, Place::kFile},
  };
}

Result<settings::Table> add_prompt(std::vector<Prompt>& prompts, const std::string& name) {
  if (prompts.size() == kMaxPrompts) {
    return Error{FACET_TOO_LARGE, "there are " + std::to_string(kMaxPrompts) + " prompts, no more may be"};
  }
  if (name.empty() || name.size() > protocol::kMaxNameBytes) {
    return Error{FACET_INVALID_ARGUMENT,
                 "a name has 1 to " + std::to_string(protocol::kMaxNameBytes) + " bytes"};
  }
  prompts.emplace_back().name = name;
  return prompt_table(prompts.back());
}

settings::Setting prompt_setting(std::vector<Prompt>& prompts) {
  const auto add = [&prompts](const std::string& name) { return add_prompt(prompts, name); };
  const auto example = [] {
    static Prompt shown{"", "", "You are the help desk.", "", false};
    return prompt_table(shown);
  };
  const auto complete_last = [&prompts] { return complete(prompts.back()); };
  return {"prompt",
          "",
          "",
          "a system prompt that is read once for all users; they can find out what it says",
          settings::Keyed{add, example, complete_last},
          Place::kFile};
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
  for (auto& setting : policy_table(config.grants)) table.push_back(std::move(setting));
  table.push_back(prompt_setting(config.prompts));
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
