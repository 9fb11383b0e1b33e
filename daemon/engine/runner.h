// The runner: a model on a device, with its cache and some contexts, running batches slice by slice.
//
// A *run* computes all ops for a batch. A *slice* is a range of cut points that lasts a few milliseconds:
// between slices the caller looks for messages, and may drop sequences from the batch. Each *place* holds one
// run, in a context of its own: a run is *parked* while slices of another place's run go first, and goes on
// where it was. The runner learns what cuts and runs cost (engine/run_costs.h) and chooses the slices'
// lengths; results do not depend on them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"
#include "daemon/engine/batch.h"
#include "daemon/engine/packed_weights.h"
#include "daemon/engine/pages.h"
#include "daemon/engine/run_costs.h"
#include "daemon/engine/token_rows.h"
#include "daemon/model/model.h"
#include "plugins/host/backend.h"

namespace facet::engine {

struct RunnerOptions {
  facet_type cache_type = FACET_TYPE_F16;
  std::vector<uint32_t> pages;  // per cache group
  uint32_t max_rows = 0;        // of a batch
  uint32_t max_selected = 0;    // rows of a batch whose logits are wanted
  uint32_t places = 1;          // runs that may be in work at once
  // That a slice is to last, at least one cut: long against the cost of a submit (tens of microseconds),
  // short against what a person notices.
  Micros slice_micros = 4000;
  PackingOptions packing;
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

  Runner(Runner&&) = default;
  Runner& operator=(Runner&&) = delete;  // it would take the program from the copy that is being made of it

  // Begins a run in a place, where none is in work. The batch stays as it is, but for dropped sequences,
  // until the run is over or another one begins there.
  void begin(uint32_t place, Batch& batch);
  // Whether the place's run is done, or no row of it is live any more.
  bool over(uint32_t place) const;
  // Runs the next slice of a run that is not over. Returns how long it took. Throws std::runtime_error if the
  // device fails.
  Micros slice(uint32_t place);
  // A run from begin to end in place 0.
  void run(Batch& batch);

  // Logits of selected rows [first, first + rows) of a place's run, which was done whole: [rows, vocabulary].
  void read_logits(uint32_t first, uint32_t rows, std::span<float> logits, uint32_t place = 0);
  // Their states before the output matrix: [rows, embedding]. The program has an output for them.
  void read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden, uint32_t place = 0);

  // What its runs cost so far.
  const RunCosts& costs() const { return costs_; }

  const model::Model& model() const { return *model_; }
  const plugins::Cache& cache() const { return cache_; }
  plugins::Cache& cache() { return cache_; }
  const RunnerBytes& bytes() const { return bytes_; }
  uint32_t max_rows() const { return max_rows_; }

 private:
  struct Place {
    plugins::Context context;
    Batch* batch = nullptr;  // nullptr: no run was begun
    uint32_t cut = 0;
    Micros took = 0;  // so far
  };

  Runner(std::shared_ptr<const model::Model> model, std::unique_ptr<plugins::Program> program,
         plugins::Cache cache, std::vector<Place> places, RunnerBytes bytes, uint32_t max_rows,
         Micros slice_micros);

  void read(uint32_t place, uint32_t port, uint32_t first, uint32_t rows, std::span<float> values);
  uint32_t last_cut() const { return static_cast<uint32_t>(program_->cuts().size()) - 1; }

  std::shared_ptr<const model::Model> model_;  // first: the weights outlive the program
  std::optional<TokenRows> per_layer_;
  std::unique_ptr<plugins::Program> program_;  // which the next one knows by its address
  std::unique_ptr<PackedWeights> packed_;
  plugins::Cache cache_;
  std::vector<Place> places_;
  RunnerBytes bytes_;
  uint32_t max_rows_;
  RunCosts costs_;
};

}  // namespace facet::engine
