// Where tests find models and golden data. A model that is missing fails the test that asks for it.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace facet::test {

inline std::string environment_or(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

inline std::string required_file(const std::string& path, const std::string& maker) {
  REQUIRE_MESSAGE(std::filesystem::is_regular_file(path), path << " is missing: run " << maker);
  return path;
}

// Gemma 3 270M, Q4_K_M: in $FACET_TEST_MODEL_DIR, or where scripts/fetch-model puts it.
inline std::string real_gemma3_path() {
  std::string cache = environment_or("FACET_CACHE", environment_or("HOME", "") + "/.cache/facet");
  std::string folder = environment_or("FACET_TEST_MODEL_DIR", cache + "/models");
  return required_file(folder + "/gemma-3-270m-q4_k_m.gguf", "scripts/fetch-model");
}

// NAME.gguf of the tiny models: in $FACET_TEST_MODELS, or where scripts/test-models puts them.
inline std::string tiny_model_path(const std::string& name) {
  return required_file(environment_or("FACET_TEST_MODELS", "build/models") + "/" + name + ".gguf",
                       "scripts/test-models");
}

// The real vocabulary of Gemma 4, without tensors.
inline std::string gemma4_vocabulary_path() {
  return tiny_model_path("gemma4-vocab");
}

// A file of tests/golden/data; tests run in the project's root.
inline std::string golden_path(const std::string& name) {
  return required_file("tests/golden/data/" + name, "the test in the project's root");
}

}  // namespace facet::test
