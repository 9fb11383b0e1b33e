// A served model: a loaded model with its runner, and the sequences that wait for it or run on it.
//
// One thread uses it. A *step* takes some pending tokens of some running sequences, runs them as one batch,
// and hands on what came out. Requests wait in the order of their arrival until the cache has room for all
// they may need.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "daemon/engine/engine.h"
#include "daemon/engine/runner.h"
#include "daemon/engine/sequence.h"

namespace facet::engine {

class ServedModel {
 public:
  // Loads `path` on `device`, which outlives the result. `sink`: see Engine.
  static Result<std::unique_ptr<ServedModel>> load(plugins::Device& device, const std::string& path,
                                                   const EngineOptions& options, const Engine::Sink& sink);

  // Queues a request. The error, naming what is wrong, if it can never run or too many wait.
  Result<void> add(const protocol::Generate& request);
  // No effect if there is no such request (it may have ended). The end comes as a Finish event.
  void cancel(uint64_t id);
  void grant(uint64_t id, uint32_t tokens);

  // One step; false if there was nothing to do. `between` is called between slices and may call the methods
  // above, but not step(). Throws if the device fails.
  bool step(const std::function<void()>& between);

  const model::Model& model() const { return runner_.model(); }
  uint32_t context() const { return context_; }
  uint32_t running() const { return static_cast<uint32_t>(running_.size()); }
  uint32_t waiting() const { return static_cast<uint32_t>(waiting_.size()); }
  uint64_t pages() const;
  uint64_t pages_free() const;

 private:
  ServedModel(Runner runner, PagePools pools, const EngineOptions& options, uint32_t context,
              Engine::Sink sink);

  void admit();
  bool fill();
  void commit();
  void sweep();

  Runner runner_;
  PagePools pools_;
  EngineOptions options_;
  Result<text::ChatFormat> chat_format_;  // or why the model has none
  uint32_t context_;
  Engine::Sink sink_;

  std::deque<Sequence> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of arrival

  // The step in work.
  struct Part {
    Sequence* sequence;
    uint32_t rows;
    bool selected;  // its last row's logits give a token
  };
  Batch batch_;
  std::vector<Part> parts_;
  std::vector<float> logits_;  // of one row
  sampling::Workspace workspace_;
};

}  // namespace facet::engine
