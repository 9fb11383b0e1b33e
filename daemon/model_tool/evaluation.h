// Evaluation: token sequences through a model, without an engine, requests or sampling.
//
// It holds a device, a runner and a fixed number of *sequences*, each with its pages and the number of its
// positions in the cache. A *step* runs some tokens of some sequences as one batch, behind what is there.
// Rows of a step whose logits are wanted are *selected*; they are numbered from 0 in the order of the step.
// Results do not depend on how tokens are cut into steps, nor on what else is in a step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/engine/batch.h"
#include "daemon/engine/draft_runner.h"
#include "daemon/engine/pages.h"
#include "daemon/engine/runner.h"
#include "daemon/model/model.h"
#include "daemon/text/vocabulary.h"
#include "plugins/host/backend.h"

namespace facet::model_tool {

// What every computing command takes.
struct ComputeOptions {
  std::string backend;   // empty: the first that works
  uint32_t threads = 0;  // 0: the backend chooses
  facet_type cache_type = FACET_TYPE_F16;
  std::string packed_weights = "auto";  // as the daemon's setting
  // Copies that are there are used; bench makes them too.
  engine::PackingOptions::Make pack = engine::PackingOptions::Make::kNever;
};

struct EvaluationSize {
  uint32_t sequences = 1;
  uint32_t positions = 0;  // of a sequence, at most
  uint32_t chunk = 0;      // tokens that a sequence takes between one retire() and the next, at most
  uint64_t rows = 0;       // of a step, at most
  uint64_t selected = 0;   // of these, at most
};

// Rows of a step while a prompt is read, unless a command is told otherwise.
constexpr uint32_t kPromptRows = 512;

// One sequence, read and continued in steps of at most kPromptRows.
EvaluationSize one_sequence(uint32_t positions);

enum class Select { kNone, kLast, kAll };

struct Part {
  uint32_t sequence;
  std::span<const text::Token> tokens;  // of the vocabulary
  Select select;
};

class Evaluation {
 public:
  static constexpr uint32_t kMostRows = 1 << 16;

  // too_large if the model's context is shorter than `positions` or a step longer than kMostRows; exhausted
  // if logits or cache would take more than half of the machine's memory; and what the backend says.
  static Result<std::unique_ptr<Evaluation>> create(std::shared_ptr<const model::Model> model,
                                                    const ComputeOptions& compute,
                                                    const EvaluationSize& size);

  // Runs one step. Each part names another sequence; the bounds are those of EvaluationSize. Throws if the
  // device fails.
  void step(std::span<const Part> parts);
  // Logits of selected rows [first, first + rows) of the last step: [rows, vocabulary].
  void read_logits(uint32_t first, uint32_t rows, std::span<float> logits);

  // Their states before the output matrix: [rows, embedding]. The model has a drafter's output for them.
  void read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden);
  // One draft after `token`, which the sequence has not taken yet. `hidden`: [embedding].
  void draft(engine::DraftRunner& runner, uint32_t sequence, text::Token token,
             std::span<const float> hidden);

  // Gives back the pages that no later position of the sequence sees.
  void retire(uint32_t sequence);
  // The sequence goes on at `position`, which lies between where it was last retired and where it is.
  void rewind(uint32_t sequence, uint32_t position);
  // The sequence goes on at `position`, which lies behind where it is, over a cache whose last whole page is
  // repeated: to measure what a long sequence costs, which does not depend on what is in the cache. At least
  // one page has been read. Errors of the device.
  Result<void> repeat_page(uint32_t sequence, uint32_t position);
  // The sequence is empty again.
  void restart(uint32_t sequence);

  const model::Model& model() const { return runner_.model(); }
  plugins::Device& device() { return device_; }
  std::string numerics() const { return device_.numerics(); }
  const engine::RunnerBytes& bytes() const { return runner_.bytes(); }

 private:
  struct Sequence {
    std::optional<engine::SequencePages> pages;
    uint32_t position = 0;
  };
  Evaluation(plugins::Device device, engine::Runner runner, std::unique_ptr<engine::PagePools> pools,
             const EvaluationSize& size);

  plugins::Device device_;  // first: it outlives the runner
  engine::Runner runner_;
  EvaluationSize size_;
  std::unique_ptr<engine::PagePools> pools_;  // before the sequences, whose pages come from it
  std::vector<Sequence> sequences_;
  engine::Batch batch_;
};

// Called with a row of logits that holds until it returns. `position` is that of the token whose successor
// the row predicts.
using RowSink = std::function<Result<void>(uint32_t sequence, uint32_t position, std::span<const float> row)>;

// Runs whole sequences side by side from position 0, `chunk` tokens of each in a step, and hands out the
// logits of all positions from `first` on, step by step. Stops at the first error of the sink.
Result<void> evaluate_all(Evaluation& evaluation, std::span<const std::vector<text::Token>> sequences,
                          uint32_t chunk, uint32_t first, const RowSink& sink);

// The number of the largest logit, the first of equal ones.
text::Token greedy(std::span<const float> logits);

// invalid_argument, naming the first id that is no token of the vocabulary, or if there is none at all.
Result<void> check_tokens(const model::Model& model, std::span<const text::Token> tokens);

}  // namespace facet::model_tool
