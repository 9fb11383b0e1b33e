// Where backends are found, and which one is taken.
//
// A plugin is a file facet-backend-NAME.so, NAME of [a-z0-9_-]. It is looked for in
//   1. FACET_PLUGIN_PATH: folders separated by ':'; ignored if it is empty or the process runs with more
//      rights than its user (setuid, file capabilities); otherwise only these folders count;
//   2. else the first that exists of lib/facet/backends and <libdir>/facet/backends beside the folder of the
//      executable (so programs of a build tree find its plugins), and the installation's
//      <libdir>/facet/backends.
#pragma once

#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "plugins/host/backend.h"

namespace facet::plugins {

struct BackendFile {
  std::string name;
  std::string path;
};

// NAME of ".../facet-backend-NAME.so"; empty if the file is not called so.
std::string backend_name_of(const std::string& path);

// The folders to look into, in order.
std::vector<std::string> backend_folders();

// The plugins there, by name; of two with one name the first. Nothing is loaded.
std::vector<BackendFile> list_backends();

// Loads that backend. With an empty name the first that works of onednn and reference; a warning in the log
// names each that does not.
Result<Backend> open_backend(const std::string& name);

// Opens device 0 of that backend. With an empty name as open_backend, where a backend without a working
// device does not work.
Result<Device> open_device(const std::string& name, uint32_t threads);

}  // namespace facet::plugins
