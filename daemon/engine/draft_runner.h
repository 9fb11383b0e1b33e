// The draft runner: a drafter on the device of its target, reading the target's cache.
//
// A *draft* is a guess of the token after one that the target has not seen yet. Each row is such a token with
// the state before it (of the target, or of the drafter's last draft); rows write nothing to the cache.
#pragma once

#include <memory>
#include <span>

#include "daemon/base/result.h"
#include "daemon/engine/batch.h"
#include "daemon/model/model.h"
#include "plugins/host/backend.h"

namespace facet::engine {

class DraftRunner {
 public:
  // `cache_type`: of the target's cache. Errors of the backend. The device outlives the runner.
  static Result<DraftRunner> create(plugins::Device& device, std::shared_ptr<const model::Drafter> drafter,
                                    facet_type cache_type, uint32_t max_rows);

  // One draft per row; all rows are readers and selected. `hidden`: [rows, embedding of the target]. Throws
  // if the device fails.
  void run(const Batch& batch, std::span<const float> hidden, const plugins::Cache& target_cache);

  // Of the last run: [rows, vocabulary], and [rows, embedding of the target] to feed the next draft with.
  void read_logits(uint32_t first, uint32_t rows, std::span<float> logits);
  void read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden);

  const model::Drafter& drafter() const { return *drafter_; }

 private:
  DraftRunner(std::shared_ptr<const model::Drafter> drafter, plugins::Program program,
              plugins::Context context);
  void read(const char* output, uint32_t first, uint32_t rows, std::span<float> values);

  std::shared_ptr<const model::Drafter> drafter_;  // first: the weights outlive the program
  plugins::Program program_;
  plugins::Context context_;
};

}  // namespace facet::engine
