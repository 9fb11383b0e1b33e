// The model loader: a thread that loads models while the engine goes on with others.
//
// It loads one at a time, so that no two models are read side by side, and gives each back built and not yet
// in use: from then on it is the engine's alone. A load that was begun is not broken off.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/mailbox.h"
#include "daemon/engine/served_model.h"

namespace facet::engine {

class ModelLoader {
 public:
  // Of a load that is over. The future is ready; it throws what the load threw. A load for which there is no
  // memory fails alone (exhausted).
  using Loaded = std::future<Result<std::unique_ptr<ServedModel>>>;
  // Called on the loader's thread.
  using Done = std::function<void(Loaded)>;

  // `device` outlives this and the models; `sink`: what they say, see Engine.
  ModelLoader(plugins::Device& device, const EngineOptions& options, Engine::Sink sink, Done done);
  // Waits for the load in work, which is over then; those that were not begun are dropped.
  ~ModelLoader();
  ModelLoader(const ModelLoader&) = delete;

  // As ServedModel::load, after all that were asked for before.
  void load(std::string path, std::vector<link::RegisterPrompt> prompts);

 private:
  struct Job {
    std::string path;
    std::vector<link::RegisterPrompt> prompts;
  };
  void work();

  plugins::Device& device_;
  const EngineOptions options_;
  const Engine::Sink sink_;
  const Done done_;
  Mailbox<Job> jobs_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;  // last: it uses all the others
};

}  // namespace facet::engine
