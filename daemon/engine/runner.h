// The runner: a model on a device, with its cache and one context, running batches slice by slice.
//
// A *run* computes all ops for a batch. A *slice* is a range of cut points that lasts a few milliseconds:
// between slices the caller looks for messages, and may drop sequences from the batch. The runner learns what
// a cut costs for a number of rows and chooses the slices' lengths; results do not depend on them.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"
#include "daemon/engine/batch.h"
#include "daemon/engine/pages.h"
#include "daemon/engine/token_rows.h"
#include "daemon/model/model.h"
#include "plugins/host/backend.h"

namespace facet::engine {

struct RunnerOptions {
  facet_type cache_type = FACET_TYPE_F16;
  std::vector<uint32_t> pages;  // per cache group
  uint32_t max_rows = 0;        // of a batch
  uint32_t max_selected = 0;    // rows of a batch whose logits are wanted
};

// Bytes that a runner takes, known before it is made. Mapped weights are not among them.
struct RunnerBytes {
  uint64_t weights_private = 0;  // copies in other layouts or on the device
  uint64_t cache = 0;
  uint64_t scratch = 0;  // activations and inputs
};

// Throws what ends the process after a device failed in mid-run: the broker starts another engine.
[[noreturn]] void device_failed(const Error& error);

class Runner {
 public:
  // Errors of the backend, naming what it cannot do. The device outlives the runner.
  static Result<Runner> create(plugins::Device& device, std::shared_ptr<const model::Model> model,
                               const RunnerOptions& options);

  // What such a runner takes, once all of it has been in use.
  static Result<RunnerBytes> bytes_of(plugins::Device& device, const plugins::Program& program,
                                      const model::Model& model, const RunnerOptions& options);

  // Runs the batch whole, or until no row of it is live. Calls `between` after each slice; it may drop
  // sequences. Throws std::runtime_error if the device fails.
  void run(Batch& batch, const std::function<void()>& between);

  // Logits of selected rows [first, first + rows) of the last run that was not left: [rows, vocabulary].
  void read_logits(uint32_t first, uint32_t rows, std::span<float> logits);
  // Their states before the output matrix: [rows, embedding]. The program has an output for them.
  void read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden);

  const model::Model& model() const { return *model_; }
  const plugins::Cache& cache() const { return cache_; }
  const RunnerBytes& bytes() const { return bytes_; }
  uint32_t max_rows() const { return max_rows_; }

 private:
  Runner(std::shared_ptr<const model::Model> model, plugins::Program program, plugins::Cache cache,
         plugins::Context context, RunnerBytes bytes, uint32_t max_rows);

  void read(uint32_t port, uint32_t first, uint32_t rows, std::span<float> values);
  uint32_t slice_end(uint32_t first, uint32_t rows) const;
  void learn(uint32_t cuts, uint32_t rows, Micros took);

  std::shared_ptr<const model::Model> model_;  // first: the weights outlive the program
  std::optional<TokenRows> per_layer_;
  plugins::Program program_;
  plugins::Cache cache_;
  plugins::Context context_;
  RunnerBytes bytes_;
  uint32_t max_rows_;
  std::array<double, 17> micros_per_cut_{};  // by the power of two of the rows; 0: not known
};

}  // namespace facet::engine
