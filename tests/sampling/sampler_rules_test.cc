// What the sampler refuses, promises and reports, case by case.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <string>

#include "daemon/sampling/sampler.h"
#include "tests/sampling/rows.h"

using namespace facet;
using namespace facet::sampling;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Sample sample_of(const Sampler& sampler, const std::vector<float>& row, uint64_t position = 0) {
  Workspace workspace;
  auto sample = sampler.sample(row, position, workspace);
  REQUIRE(sample.ok());
  return std::move(sample).value();
}

SamplingParams greedy() {
  SamplingParams params;
  params.temperature = 0;
  return params;
}

}  // namespace

TEST_CASE("parameters are refused by name") {
  auto refused = [](auto&& change, const std::string& name, facet_status code = FACET_INVALID_ARGUMENT) {
    SamplingParams params;
    change(params);
    const auto result = params.validate(100);
    CAPTURE(name);
    REQUIRE_FALSE(result.ok());
    CHECK(result.error().code == code);
    CHECK(result.error().message.find(name) != std::string::npos);
  };
  CHECK(SamplingParams{}.validate(100).ok());
  for (float bad : {-0.5f, 101.0f, kNan, kInfinity}) {
    refused([&](SamplingParams& p) { p.temperature = bad; }, "temperature");
    refused([&](SamplingParams& p) { p.top_p = bad; }, "top_p");
    refused([&](SamplingParams& p) { p.min_p = bad; }, "min_p");
    refused([&](SamplingParams& p) { p.repeat_penalty = bad; }, "repeat_penalty");
  }
  for (float bad : {-101.0f, 101.0f, kNan, -kInfinity}) {
    refused([&](SamplingParams& p) { p.presence_penalty = bad; }, "presence_penalty");
    refused([&](SamplingParams& p) { p.frequency_penalty = bad; }, "frequency_penalty");
  }
  refused([](SamplingParams& p) { p.repeat_penalty = 0; }, "repeat_penalty");
  refused([](SamplingParams& p) { p.repeat_last_n = kMaxRepeatLastN + 1; }, "repeat_last_n", FACET_TOO_LARGE);
  refused([](SamplingParams& p) { p.logprobs = kMaxLogprobs + 1; }, "logprobs", FACET_TOO_LARGE);
  refused([](SamplingParams& p) { p.logit_bias.resize(kMaxLogitBiases + 1); }, "logit_bias", FACET_TOO_LARGE);
  refused([](SamplingParams& p) { p.logit_bias = {{100, 1.0f}}; }, "token 100 is not in the vocabulary");
  refused([](SamplingParams& p) { p.logit_bias = {{7, kNan}}; }, "token 7 has a bias");
  refused([](SamplingParams& p) { p.logit_bias = {{7, kInfinity}}; }, "token 7 has a bias");
  refused([](SamplingParams& p) { p.logit_bias = {{7, 1}, {8, 1}, {7, 2}}; }, "token 7 is named twice");
  SamplingParams bans;
  bans.logit_bias = {{7, -kInfinity}, {8, 1000.0f}};
  CHECK(bans.validate(100).ok());
}

TEST_CASE("broken logits are an internal error, a row without a token an invalid one") {
  Workspace workspace;
  SamplingParams penalised;
  penalised.presence_penalty = 1;
  penalised.logit_bias = {{5, 2.0f}};
  SamplingParams top_k;
  top_k.top_k = 3;
  SamplingParams reporting;
  reporting.report_logprobs = true;
  for (const SamplingParams& params : {SamplingParams{}, greedy(), penalised, top_k, reporting}) {
    Sampler sampler(params);
    sampler.accept(9);
    for (float bad : {kNan, -kNan, kInfinity}) {
      for (uint32_t at : {0u, 5u, 9u, 64u, 599u}) {
        std::vector<float> row(600, 0.5f);
        row[at] = bad;
        const auto sample = sampler.sample(row, 0, workspace);
        REQUIRE_FALSE(sample.ok());
        CHECK(sample.error().code == FACET_INTERNAL);
      }
    }
    const auto banned = sampler.sample(std::vector<float>(600, -kInfinity), 0, workspace);
    REQUIRE_FALSE(banned.ok());
    CHECK(banned.error().code == FACET_INVALID_ARGUMENT);
    CHECK_FALSE(sampler.sample({}, 0, workspace).ok());
  }
  penalised.logit_bias = {{600, 1.0f}};
  CHECK(Sampler(penalised).sample(std::vector<float>(600), 0, workspace).error().code == FACET_INTERNAL);
}

TEST_CASE("greedy takes the largest logit, the smaller id of equal ones") {
  CHECK(sample_of(Sampler(greedy()), {1, 3, 2, 3}).token == 1);
  CHECK(sample_of(Sampler(greedy()), {-0.0f, 0.0f}).token == 0);
  CHECK(sample_of(Sampler(greedy()), {-kInfinity, -1e38f}).token == 1);
}

TEST_CASE("a bias is added, and bans") {
  SamplingParams params = greedy();
  params.logit_bias = {{2, 5.0f}, {0, -kInfinity}};
  CHECK(sample_of(Sampler(params), {9, 1, 2, 3}).token == 2);
  params.logit_bias = {{0, 1000.0f}};
  CHECK(sample_of(Sampler(params), {3e38f, 3.2e38f}).token == 1);
}

TEST_CASE("penalties count the tokens of the window alone") {
  SamplingParams params = greedy();
  params.repeat_last_n = 3;
  params.frequency_penalty = 0.4f;
  Sampler sampler(params);
  const std::vector<float> row = {2, 1.5f, 1};
  sampler.accept(0);
  CHECK(sample_of(sampler, row).token == 0);  // 1.6
  sampler.accept(0);
  CHECK(sample_of(sampler, row).token == 1);  // 1.2
  sampler.accept(1);
  CHECK(sample_of(sampler, row).token == 0);  // 1.2, 1.1, 1
  sampler.accept(1);                          // 1.6, 0.7, 1
  sampler.accept(1);                          // no 0 any more
  CHECK(sample_of(sampler, row).token == 0);
  sampler.accept(0);
  sampler.accept(0);
  sampler.accept(0);  // 0.8, 1.5, 1
  CHECK(sample_of(sampler, row).token == 1);

  params.frequency_penalty = 0;
  params.presence_penalty = 0.6f;
  Sampler present(params);
  present.accept(0);
  present.accept(0);
  CHECK(sample_of(present, row).token == 1);
  present.accept(1);
  CHECK(sample_of(present, row).token == 0);  // 1.4, 0.9, 1

  params.presence_penalty = 0;
  params.repeat_penalty = 2;
  Sampler repeated(params);
  repeated.accept(0);
  CHECK(sample_of(repeated, {2, 1.5f}).token == 1);
  CHECK(sample_of(repeated, {-1, -1.5f}).token == 1);  // -2

  params.repeat_last_n = 0;
  Sampler none(params);
  none.accept(0);
  CHECK(sample_of(none, {2, 1.5f}).token == 0);
}

TEST_CASE("extreme parameters keep every logit a number") {
  for (float penalty : {0.01f, 100.0f}) {
    for (float temperature : {0.0f, 1e-40f, 1e-6f, 100.0f}) {
      for (float top_p : {0.0f, 1e-40f, 0.5f}) {
        SamplingParams params;
        params.temperature = temperature;
        params.top_p = top_p;
        params.min_p = 1e-45f;
        params.repeat_penalty = penalty;
        params.presence_penalty = -100;
        REQUIRE(params.validate(2000).ok());
        Sampler sampler(params);
        for (uint32_t token = 0; token < 2000; token += 3) sampler.accept(token);
        for (const NamedRow& named : rows_of(2000, 8)) {
          const std::vector<float>& row = named.logits;
          CAPTURE(named.name);
          const Sample sample = sample_of(sampler, row, 3);
          CHECK(row[sample.token] > -kInfinity);
        }
      }
    }
  }
}

TEST_CASE("a sample depends on seed and position, not on calls, workspaces, copies or instruction sets") {
  SamplingParams params;
  params.seed = 77;
  params.top_p = 0.9f;
  params.temperature = 0.8f;
  const auto rows = rows_of(5000, 21);
  Workspace shared;
  std::vector<std::unique_ptr<Workspace>> workspaces;
  for (RowIsa isa : {RowIsa::kPortable, RowIsa::kAvx2, RowIsa::kAvx512}) {
    if (row_kernels(isa)) workspaces.push_back(std::make_unique<Workspace>(isa));
  }
  for (uint32_t top_k : {0u, 40u}) {
    params.top_k = top_k;
    const Sampler sampler(params);
    std::vector<uint32_t> forward;
    for (const NamedRow& named : rows) {
      const std::vector<float>& row = named.logits;
      for (uint64_t position = 0; position < 8; ++position) {
        forward.push_back(sampler.sample(row, position, shared).value().token);
      }
    }
    const Sampler copy = sampler;
    for (size_t i = rows.size(); i-- > 0;) {
      for (uint64_t position = 8; position-- > 0;) {
        Workspace fresh;
        REQUIRE(copy.sample(rows[i].logits, position, fresh).value().token == forward[i * 8 + position]);
        for (auto& workspace : workspaces) {
          REQUIRE(copy.sample(rows[i].logits, position, *workspace).value().token ==
                  forward[i * 8 + position]);
        }
      }
    }
    params.seed = 78;
    const Sampler other(params);
    size_t differing = 0;
    for (uint64_t position = 0; position < 8; ++position) {
      differing += other.sample(rows[0].logits, position, shared).value().token != forward[position];
    }
    CHECK(differing > 4);
    params.seed = 77;
  }
}

TEST_CASE("log-probabilities are of the logits as they came in") {
  SamplingParams params;
  params.report_logprobs = true;
  params.logprobs = 5;
  params.temperature = 0.3f;
  params.top_k = 4;
  params.repeat_penalty = 1.5f;
  params.logit_bias = {{1, -3.0f}};
  Sampler sampler(params);
  sampler.accept(0);
  for (const NamedRow& named : rows_of(3001, 31)) {
    const std::vector<float>& row = named.logits;
    CAPTURE(named.name);
    const double most = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (float x : row) sum += std::exp(x - most);
    auto exact = [&](uint32_t id) { return row[id] - most - std::log(sum); };
    auto close = [&](const Logprob& entry) {
      const double expected = exact(entry.token);
      return std::abs(entry.logprob - expected) <= 1e-5 + 1e-7 * std::abs(expected);
    };
    const Sample sample = sample_of(sampler, row);
    CHECK(close({sample.token, sample.logprob}));
    CHECK(sample.top.size() == std::min<size_t>(5, size_t(std::count_if(row.begin(), row.end(), [](float x) {
                                                  return x > -kInfinity;
                                                }))));
    for (size_t i = 0; i < sample.top.size(); ++i) {
      CHECK(close(sample.top[i]));
      if (i == 0) continue;
      const float before = row[sample.top[i - 1].token];
      const float here = row[sample.top[i].token];
      CHECK((before > here || (before == here && sample.top[i - 1].token < sample.top[i].token)));
    }
    CHECK(row[sample.top[0].token] == float(most));
  }
  params.report_logprobs = false;
  CHECK(sample_of(Sampler(params), {1, 2}).top.empty());
}
