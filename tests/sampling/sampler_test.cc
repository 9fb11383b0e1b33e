// The sampler against an oracle that sorts everything and computes in double.
#include "daemon/sampling/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "daemon/sampling/random.h"
#include "tests/sampling/rows.h"

using namespace facet::sampling;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Who may be drawn, and how often. `slack` moves the edges of top-p and min-p outwards (or, if negative,
// inwards).
std::map<uint32_t, double> oracle(std::vector<float> row, const SamplingParams& params,
                                  const std::vector<uint32_t>& history, double slack) {
  for (const auto& [token, bias] : params.logit_bias) row[token] += bias;
  std::map<uint32_t, int> counts;
  const size_t window = std::min<size_t>(history.size(), params.repeat_last_n);
  for (size_t i = history.size() - window; i < history.size(); ++i) ++counts[history[i]];
  for (const auto& [token, count] : counts) {
    float& x = row[token];
    x = x > 0 ? x / params.repeat_penalty : x * params.repeat_penalty;
    x -= params.presence_penalty + float(count) * params.frequency_penalty;
  }
  std::vector<uint32_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::erase_if(ids, [&](uint32_t id) { return row[id] == -kInfinity; });
  std::stable_sort(ids.begin(), ids.end(), [&](uint32_t a, uint32_t b) { return row[a] > row[b]; });
  if (params.top_k > 0) ids.resize(std::min<size_t>(ids.size(), params.top_k));

  const double most = row[ids[0]];
  double sum = 0;
  for (uint32_t id : ids) sum += std::exp(row[id] - most);
  std::map<uint32_t, double> kept;
  double before = 0;
  double weights = 0;
  for (uint32_t id : ids) {
    const bool nucleus = params.top_p == 1 || before < (double(params.top_p) + slack) * sum || before == 0;
    const bool likely = params.min_p == 0 || row[id] >= most + std::log(double(params.min_p)) - slack;
    if (!nucleus || !likely) break;
    before += std::exp(row[id] - most);
    weights += kept[id] = std::exp((row[id] - most) / params.temperature);
  }
  for (auto& [id, weight] : kept) weight /= weights;
  return kept;
}

SamplingParams params_of(std::mt19937& random, uint32_t size) {
  auto one_of = [&](std::initializer_list<float> values) { return values.begin()[random() % values.size()]; };
  SamplingParams params;
  params.temperature = one_of({0.3f, 0.7f, 1, 1, 1, 1.5f, 5});
  params.top_k = uint32_t(one_of({0, 0, 1, 5, 64, 200}));
  params.top_p = one_of({1, 1, 0.99f, 0.95f, 0.5f, 0.05f});
  params.min_p = one_of({0, 0, 0.05f, 0.5f, 1});
  params.repeat_penalty = one_of({1, 1, 1.3f, 0.8f});
  params.repeat_last_n = uint32_t(one_of({0, 4, 64}));
  params.presence_penalty = one_of({0, 0, 0.5f});
  params.frequency_penalty = one_of({0, 0, 0.2f, -0.2f});
  params.seed = random();
  if (random() % 3 == 0) params.logit_bias = {{uint32_t(random() % size), 3.0f}};
  return params;
}

}  // namespace

TEST_CASE("any parameters on any row: only what the oracle keeps is drawn, as often as it says") {
  std::mt19937 random(12);
  Workspace workspace;
  constexpr int kDraws = 1500;
  for (int round = 0; round < 12; ++round) {
    const uint32_t size = std::initializer_list<uint32_t>{1, 3, 50, 513, 1300}.begin()[random() % 5];
    for (const NamedRow& named : rows_of(size, uint32_t(round))) {
      const std::vector<float>& row = named.logits;
      const SamplingParams params = params_of(random, size);
      REQUIRE(params.validate(size).ok());
      Sampler sampler(params);
      std::vector<uint32_t> history(20);
      for (uint32_t& token : history) {
        token = random() % std::min(size, 30u);
        sampler.accept(token);
      }

      const auto may = oracle(row, params, history, 2e-6);
      const auto expected = oracle(row, params, history, 0);
      std::map<uint32_t, int> drawn;
      for (uint64_t position = 0; position < kDraws; ++position) {
        auto sample = sampler.sample(row, position, workspace);
        REQUIRE(sample.ok());
        ++drawn[sample->token];
      }
      CAPTURE(named.name);
      CAPTURE(size);
      CAPTURE(round);
      for (const auto& [token, times] : drawn) REQUIRE(may.contains(token));

      // Pearson's test over tokens expected at least 5 times, the others together.
      double deviation = 0;
      double rest_expected = 0;
      double rest_drawn = 0;
      int cells = 0;
      auto add = [&](double times, double wanted) {
        deviation += (times - wanted) * (times - wanted) / wanted;
        ++cells;
      };
      for (const auto& [token, probability] : expected) {
        const double wanted = probability * kDraws;
        if (wanted >= 5) {
          add(drawn[token], wanted);
        } else {
          rest_expected += wanted;
          rest_drawn += drawn[token];
        }
      }
      if (rest_expected >= 5) add(rest_drawn, rest_expected);
      CHECK(deviation < cells + 6 * std::sqrt(2.0 * cells) + 6);
    }
  }
}

TEST_CASE("without filters the draw is the inverse of the distribution in the order of ids") {
  Workspace workspace;
  SamplingParams params;
  for (float temperature : {1.0f, 0.6f, 2.0f}) {
    params.temperature = temperature;
    params.seed = 5;
    const Sampler sampler(params);
    for (const NamedRow& named : rows_of(7001, 3)) {
      const std::vector<float>& row = named.logits;
      CAPTURE(named.name);
      const auto probabilities = oracle(row, params, {}, 0);
      for (uint64_t position = 0; position < 40; ++position) {
        const double at = uniform(5, position, 0);
        const uint32_t token = sampler.sample(row, position, workspace).value().token;
        double before = 0;
        for (const auto& [id, probability] : probabilities) {
          if (id == token) {
            CHECK(at > before - 1e-6);
            CHECK(at < before + probability + 1e-6);
            break;
          }
          before += probability;
        }
      }
    }
  }
}

TEST_CASE("on rows as long as Gemma's vocabulary the nucleus ends where the oracle's does") {
  constexpr uint32_t kVocab = 262144;
  Workspace workspace;
  for (const NamedRow& named : rows_of(kVocab, 17)) {
    const std::vector<float>& row = named.logits;
    CAPTURE(named.name);
    SamplingParams params;
    params.top_p = 0.95f;
    const auto may = oracle(row, params, {}, 2e-6);
    const Sampler sampler(params);
    for (uint64_t position = 0; position < 25; ++position) {
      REQUIRE(may.contains(sampler.sample(row, position, workspace).value().token));
    }
    params.top_k = 64;
    params.top_p = 1;
    const auto first = oracle(row, params, {}, 0);
    const Sampler top(params);
    for (uint64_t position = 0; position < 25; ++position) {
      REQUIRE(first.contains(top.sample(row, position, workspace).value().token));
    }
  }
}

TEST_CASE("of equal logits top-k and top-p keep the smaller ids, all of them") {
  const std::vector<float> row(1000, 2.0f);
  Workspace workspace;
  for (bool by_count : {true, false}) {
    SamplingParams params;
    if (by_count) {
      params.top_k = 10;
    } else {
      params.top_p = 0.01f;
    }
    const Sampler sampler(params);
    std::map<uint32_t, int> drawn;
    for (uint64_t position = 0; position < 500; ++position) {
      ++drawn[sampler.sample(row, position, workspace).value().token];
    }
    CHECK(drawn.size() == 10);
    CHECK(drawn.rbegin()->first == 9);
  }
}
