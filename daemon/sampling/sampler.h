// The sampler: chooses one token from the logits of one position.
//
// Logits are changed and filtered in llama.cpp's order:
//   1. logit bias: added.
//   2. penalties, over the last `repeat_last_n` accepted tokens: a logit of a token among them is divided by
//      the repeat penalty if positive, else multiplied by it; then the presence penalty is subtracted once,
//      and the frequency penalty once per occurrence.
//   3. top-k keeps the k largest logits; of equal ones the smaller ids.
//   4. top-p keeps the fewest of the remaining tokens, largest first, whose probabilities (at temperature 1,
//      among the remaining) reach p; always at least one.
//   5. min-p keeps what is at least min-p times as probable as the most probable.
//   6. The draw is from what is left, at the temperature. Temperature 0 takes the largest logit (the smaller
//      id of equal ones) after steps 1 and 2.
// As in llama.cpp, the window of the penalties runs over the prompt too if the caller accepts the prompt's
// tokens.
//
// *Determinism.* A sample depends on the logits, the parameters, the accepted tokens in the window, and the
// draw numbered (seed, position); not on earlier calls, the instruction set or the machine. Probabilities are
// sums of floats, off by up to 1e-6 of the whole: where top-p falls that near to a token's edge, either side
// of it may be taken (always the same).
//
// A logit of -infinity bans its token. NaN and +infinity are a bug of whoever made the logits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/sampling/row.h"

namespace facet::sampling {

inline constexpr float kMaxTemperature = 100;
inline constexpr uint32_t kMaxRepeatLastN = 65536;
inline constexpr float kMaxRepeatPenalty = 100;  // and at least its inverse
inline constexpr float kMaxPenalty = 100;        // presence and frequency, of either sign
inline constexpr float kMaxBias = 1000;          // of either sign; or -infinity
inline constexpr uint32_t kMaxLogitBiases = 1024;
inline constexpr uint32_t kMaxLogprobs = 64;

struct SamplingParams {
  float temperature = 1;        // 0: greedy
  uint32_t top_k = 0;           // 0: off
  float top_p = 1;              // 1: off
  float min_p = 0;              // 0: off
  float repeat_penalty = 1;     // 1: off
  uint32_t repeat_last_n = 64;  // tokens that the penalties look back on; 0: none
  float presence_penalty = 0;
  float frequency_penalty = 0;
  std::vector<std::pair<uint32_t, float>> logit_bias;  // token, bias; a token once. -infinity bans it
  uint64_t seed = 0;
  uint32_t logprobs = 0;         // alternatives to report, with report_logprobs
  bool report_logprobs = false;  // report log-probabilities; costs a pass over the row

  // invalid_argument with the field's name, or too_large for a count beyond its bound.
  Result<void> validate(uint32_t n_vocab) const;
};

struct Logprob {
  uint32_t token = 0;
  float logprob = 0;  // natural logarithm
};

// Log-probabilities are those of the logits as they came in: without bias, penalties, filters and
// temperature. They are off by up to 1e-5.
struct Sample {
  uint32_t token = 0;
  float logprob = 0;  // with report_logprobs
  std::vector<Logprob>
      top;  // params.logprobs entries in rank order, fewer if fewer have a logit above -infinity
};

// The memory that sampling a row needs: about 40 KB, and for large top-k, many ties or many penalised tokens
// up to three times the row. One per thread serves any number of samplers.
class Workspace {
 public:
  explicit Workspace(RowIsa isa = best_row_isa());

 private:
  friend class Sampler;

  Row original_;  // as it came in
  Row changed_;   // with bias and penalties
  Row top_;       // what top-k left, numbered by `ids_`
  std::vector<float> logits_;
  std::vector<uint32_t> ids_;
  Masses masses_;
};

// One sequence's sampler. A value: a copy continues alike. Thread-compatible.
class Sampler {
 public:
  // `params` must be valid for the rows that will come.
  explicit Sampler(SamplingParams params);

  // The token entered the sequence: it counts for the penalties.
  void accept(uint32_t token);

  // Chooses the token that follows at `position`. `logits` [n_vocab]. invalid_argument if bias and masks ban
  // every token; internal if a logit is NaN or +infinity, or if a token of the parameters lies outside the
  // row.
  Result<Sample> sample(std::span<const float> logits, uint64_t position, Workspace& workspace) const;

  const SamplingParams& params() const { return params_; }

 private:
  bool changes_logits() const { return !params_.logit_bias.empty() || !counts_.empty(); }
  Result<void> change_logits(Row& row) const;
  Result<uint32_t> choose(Row& row, uint64_t position, Workspace& workspace) const;
  uint32_t draw(Row& row, uint64_t position, Workspace& workspace) const;
  // A draw from the nucleus in `kept`, or nothing after some tries. Counts its random numbers in `draws`.
  std::optional<uint32_t> propose(Row& row, uint64_t position, double enough, Cut& kept,
                                  uint32_t& draws) const;
  void report(Row& row, Workspace& workspace, Sample& sample) const;

  SamplingParams params_;
  uint32_t window_limit_ = 0;
  std::vector<uint32_t> window_;  // the last accepted tokens; a ring once full
  size_t oldest_ = 0;
  std::unordered_map<uint32_t, uint32_t> counts_;  // of the tokens in the window
};

}  // namespace facet::sampling
