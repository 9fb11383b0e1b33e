// The backend held_backend.cc as a test finds it. For one test program: it sets where the process looks for
// backends.
#pragma once

#include <dlfcn.h>
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>

#include "daemon/engine/engine.h"
#include "tests/engine/held_backend.h"

namespace facet::test {

inline Gate& gate() {
  static Gate* gate = [] {
    const std::string folder = FACET_HELD_FOLDER;
    setenv("FACET_PLUGIN_PATH", folder.c_str(), 1);
    void* library = dlopen((folder + "/facet-backend-held.so").c_str(), RTLD_NOW | RTLD_LOCAL);
    REQUIRE_MESSAGE(library != nullptr, dlerror());
    return reinterpret_cast<decltype(&facet_test_gate)>(dlsym(library, "facet_test_gate"))();
  }();
  return *gate;
}

inline engine::EngineOptions held(engine::EngineOptions options = {}) {
  gate();
  options.backend = "held";
  return options;
}

}  // namespace facet::test
