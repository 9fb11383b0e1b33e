#include "daemon/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "daemon/sampling/natural_log.h"
#include "daemon/sampling/random.h"

namespace facet::sampling {

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();

Result<void> within(const char* field, float value, float least, float most) {
  if (value >= least && value <= most) return {};
  return Error{FACET_INVALID_ARGUMENT, std::string(field) + " is " + std::to_string(value) +
                                           "; it must be from " + std::to_string(least) + " to " +
                                           std::to_string(most)};
}

Result<void> at_most(const char* field, size_t value, size_t most) {
  if (value <= most) return {};
  return Error{FACET_TOO_LARGE,
               std::string(field) + " is " + std::to_string(value) + "; at most " + std::to_string(most)};
}

Error invalid_bias(uint32_t token, const char* why) {
  return {FACET_INVALID_ARGUMENT, "logit_bias: token " + std::to_string(token) + " " + why};
}

}  // namespace

Result<void> SamplingParams::validate(uint32_t n_vocab) const {
  FACET_CHECK(within("temperature", temperature, 0, kMaxTemperature));
  FACET_CHECK(within("top_p", top_p, 0, 1));
  FACET_CHECK(within("min_p", min_p, 0, 1));
  FACET_CHECK(within("repeat_penalty", repeat_penalty, 1 / kMaxRepeatPenalty, kMaxRepeatPenalty));
  FACET_CHECK(within("presence_penalty", presence_penalty, -kMaxPenalty, kMaxPenalty));
  FACET_CHECK(within("frequency_penalty", frequency_penalty, -kMaxPenalty, kMaxPenalty));
  FACET_CHECK(at_most("repeat_last_n", repeat_last_n, kMaxRepeatLastN));
  FACET_CHECK(at_most("logprobs", logprobs, kMaxLogprobs));
  FACET_CHECK(at_most("the number of logit_bias", logit_bias.size(), kMaxLogitBiases));
  std::vector<uint32_t> tokens;
  for (const auto& [token, bias] : logit_bias) {
    if (token >= n_vocab) return invalid_bias(token, "is not in the vocabulary");
    if (!(std::abs(bias) <= kMaxBias) && bias != -kInfinity)
      return invalid_bias(token, "has a bias out of range");
    tokens.push_back(token);
  }
  std::sort(tokens.begin(), tokens.end());
  const auto twice = std::adjacent_find(tokens.begin(), tokens.end());
  if (twice != tokens.end()) return invalid_bias(*twice, "is named twice");
  return {};
}

Workspace::Workspace(RowIsa isa)
    : original_(*row_kernels(isa)), changed_(*row_kernels(isa)), top_(*row_kernels(isa)) {}

Sampler::Sampler(SamplingParams params) : params_(std::move(params)) {
  const bool penalises =
      params_.repeat_penalty != 1 || params_.presence_penalty != 0 || params_.frequency_penalty != 0;
  if (penalises) window_limit_ = params_.repeat_last_n;
}

void Sampler::accept(uint32_t token) {
  if (window_limit_ == 0) return;
  ++counts_[token];
  if (window_.size() < window_limit_) {
    window_.push_back(token);
    return;
  }
  const auto leaving = counts_.find(std::exchange(window_[oldest_], token));
  if (--leaving->second == 0) counts_.erase(leaving);
  oldest_ = (oldest_ + 1) % window_.size();
}

Result<void> Sampler::change_logits(Row& row) const {
  auto change = [&](uint32_t token, auto&& how) -> Result<void> {
    if (token >= row.size()) {
      return Error{FACET_INTERNAL, "token " + std::to_string(token) + " is outside the row of logits"};
    }
    const float logit = row[token];
    if (!(logit <= kLargest)) return Error{FACET_INTERNAL, "a logit is NaN or infinite"};
    row.set(token, std::min(how(logit), kLargest));
    return {};
  };
  for (const auto& [token, bias] : params_.logit_bias) {
    FACET_CHECK(change(token, [bias = bias](float logit) { return logit + bias; }));
  }
  for (const auto& [token, count] : counts_) {
    FACET_CHECK(change(token, [this, count = count](float logit) {
      logit = logit > 0 ? logit / params_.repeat_penalty : logit * params_.repeat_penalty;
      return logit - (params_.presence_penalty + float(count) * params_.frequency_penalty);
    }));
  }
  return {};
}

Result<Sample> Sampler::sample(std::span<const float> logits, uint64_t position, Workspace& workspace) const {
  const bool changes = changes_logits();
  Row& original = workspace.original_;
  original.assign(logits);
  if (!changes || params_.report_logprobs) FACET_CHECK(original.scan());

  Row& row = changes ? workspace.changed_ : original;
  if (changes) {
    row.assign(logits);
    FACET_CHECK(change_logits(row));
    FACET_CHECK(row.scan());
  }
  Sample sample;
  FACET_TRY(sample.token, choose(row, position, workspace));
  if (params_.report_logprobs) report(original, workspace, sample);
  return sample;
}

Result<uint32_t> Sampler::choose(Row& row, uint64_t position, Workspace& workspace) const {
  if (params_.temperature == 0) return row.best();
  if (params_.top_k == 0 || params_.top_k >= row.size()) return draw(row, position, workspace);
  row.top(params_.top_k, workspace.logits_, workspace.ids_);
  workspace.top_.assign(workspace.logits_);
  FACET_CHECK(workspace.top_.scan());
  return workspace.ids_[draw(workspace.top_, position, workspace)];
}

// Top-p without sorting: a token is drawn from more than the nucleus, and it counts if what ranks before it
// holds less than p. If not, the nucleus ends before it, and the next draw is from there. What is accepted is
// distributed as a draw from the nucleus itself, and the tries shrink as quicksort's halves do.
uint32_t Sampler::draw(Row& row, uint64_t position, Workspace& workspace) const {
  const float scale = float(std::min<double>(kLog2E / params_.temperature, kLargest));
  const bool nucleus = params_.top_p < 1;
  double enough = 0;
  uint32_t draws = 0;
  Cut kept = row.everything();
  if (params_.min_p > 0) kept.logit = float(row.max() + natural_log(params_.min_p));
  if (nucleus) {
    const double total = row.softmax().total;
    enough = params_.top_p * total;
    // All tokens below this logit would together weigh no more than half of what top-p leaves out.
    const double floor = row.max() + natural_log((1 - double(params_.top_p)) * total / (2.0 * row.size()));
    kept.logit = std::max(kept.logit, std::nextafter(float(floor), -kInfinity));
    if (const auto token = propose(row, position, enough, kept, draws)) return *token;
  }
  const bool model = params_.temperature == 1 && params_.min_p == 0 && !nucleus;
  if (!model) row.weigh({row.max(), scale}, kept, workspace.masses_);
  const Masses& masses = model ? row.softmax() : workspace.masses_;
  for (;;) {
    const double at = uniform(params_.seed, position, draws++) * masses.total;
    const uint32_t token = row.pick(masses, kept, at);
    const Cut before = {row[token], token};
    if (!nucleus || row.holds_less(before, enough)) return token;
    kept = before;
    row.weigh({row.max(), scale}, kept, workspace.masses_);
  }
}

// The weights at temperature 1, which top-p needs anyway, save those at another temperature T: e^(x/T) is e^x
// times e^((1/T - 1) x), so a token drawn at temperature 1 that is kept with its part of the second factor's
// greatest value is distributed as one drawn at T.
std::optional<uint32_t> Sampler::propose(Row& row, uint64_t position, double enough, Cut& kept,
                                         uint32_t& draws) const {
  constexpr int kTries = 64;         // about a microsecond each; weighing the row takes some fifty
  constexpr double kLeastShare = 6;  // e to minus this: where fewer draws may count, none is made
  const double slope = 1 / double(params_.temperature) - 1;
  const Masses& masses = row.softmax();
  for (int i = 0; i < kTries; ++i) {
    // Where the second factor is greatest.
    const double greatest = slope > 0 ? row.max() : kept.logit;
    if (slope * (row.max() - greatest) < -kLeastShare) break;
    const double at = uniform(params_.seed, position, draws++) * masses.total;
    const double chance = 1 - uniform(params_.seed, position, draws++);
    const uint32_t token = row.pick(masses, row.everything(), at);
    const Cut before = {row[token], token};
    if (!kept.holds(before.logit, token)) continue;
    if (slope != 0 && natural_log(chance) >= slope * (before.logit - greatest)) continue;
    if (row.holds_less(before, enough)) return token;
    kept = before;
  }
  return std::nullopt;
}

void Sampler::report(Row& row, Workspace& workspace, Sample& sample) const {
  const double whole = row.max() + natural_log(row.softmax().total);
  auto logprob = [&](float logit) { return float(logit - whole); };
  sample.logprob = logprob(row[sample.token]);
  if (params_.logprobs == 0) return;
  row.top(std::min(params_.logprobs, row.size()), workspace.logits_, workspace.ids_);
  // The ids ascend already, so that equal ones stay in their order.
  std::stable_sort(workspace.ids_.begin(), workspace.ids_.end(),
                   [&](uint32_t a, uint32_t b) { return row[a] > row[b]; });
  for (uint32_t id : workspace.ids_) sample.top.push_back({id, logprob(row[id])});
}

}  // namespace facet::sampling
