// What golden tests share: the backend under test, model outputs by prompt, and golden logits by row.
//
// ctest runs each program once per configuration: FACET_TEST_BACKEND names the backend, FACET_ISA the
// instruction set where the backend has several.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "daemon/model_tool/commands.h"
#include "daemon/model_tool/evaluation.h"
#include "tests/test_models.h"

namespace facet::test {

using model_tool::Ids;

inline nlohmann::json read_json(const std::string& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in);
}

inline std::vector<float> read_floats(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  std::vector<float> floats(static_cast<size_t>(in.tellg()) / sizeof(float));
  in.seekg(0).read(reinterpret_cast<char*>(floats.data()),
                   static_cast<std::streamsize>(floats.size() * sizeof(float)));
  return floats;
}

inline std::shared_ptr<const model::Model> load_model(const std::string& path) {
  auto model = model::Model::load(path);
  REQUIRE_MESSAGE(model.ok(), model.error().message);
  return *model;
}

inline std::string backend_under_test() {
  return environment_or("FACET_TEST_BACKEND", "reference");
}

// How a model is run.
struct Setting {
  uint32_t chunk = 0;  // 0: the longest prompt
  uint32_t threads = 1;
  facet_type cache = FACET_TYPE_F32;
};

inline std::unique_ptr<model_tool::Evaluation> open_evaluation(std::shared_ptr<const model::Model> model,
                                                               const Setting& setting,
                                                               const model_tool::EvaluationSize& size) {
  auto evaluation = model_tool::Evaluation::create(
      std::move(model), {backend_under_test(), setting.threads, setting.cache}, size);
  REQUIRE_MESSAGE(evaluation.ok(), evaluation.error().message);
  return std::move(*evaluation);
}

// The logits of all positions of prompts that run side by side: per prompt [positions, vocabulary].
inline std::vector<std::vector<float>> run_prompts(const std::shared_ptr<const model::Model>& model,
                                                   const std::vector<Ids>& prompts, const Setting& setting) {
  size_t longest = 0;
  for (const Ids& prompt : prompts) longest = std::max(longest, prompt.size());
  model_tool::EvaluationSize size;
  size.sequences = static_cast<uint32_t>(prompts.size());
  size.positions = static_cast<uint32_t>(longest);
  size.chunk = setting.chunk == 0 ? size.positions : setting.chunk;
  size.rows = size.selected = uint64_t{size.sequences} * size.chunk;
  auto evaluation = open_evaluation(model, setting, size);
  std::vector<std::vector<float>> logits(prompts.size());
  auto done =
      evaluate_all(*evaluation, prompts, size.chunk, 0,
                   [&](uint32_t sequence, uint32_t position, std::span<const float> row) -> Result<void> {
                     REQUIRE(logits[sequence].size() == position * row.size());
                     logits[sequence].insert(logits[sequence].end(), row.begin(), row.end());
                     return {};
                   });
  REQUIRE(done.ok());
  return logits;
}

// `count` greedy tokens after a prompt.
inline Ids continue_greedily(const std::shared_ptr<const model::Model>& model, const Ids& prompt,
                             size_t count, const Setting& setting) {
  model_tool::EvaluationSize size;
  size.positions = static_cast<uint32_t>(prompt.size() + count);
  size.chunk = static_cast<uint32_t>(prompt.size());
  size.rows = size.chunk;
  size.selected = 1;
  auto evaluation = open_evaluation(model, setting, size);
  std::vector<float> row(model->config().vocabulary);
  Ids tokens, next = prompt;
  while (tokens.size() < count) {
    const model_tool::Part part{0, next, model_tool::Select::kLast};
    evaluation->step({&part, 1});
    evaluation->retire(0);
    evaluation->read_logits(0, 1, row);
    next = {model_tool::greedy(row)};
    tokens.push_back(next[0]);
  }
  return tokens;
}

inline double largest_difference(std::span<const float> x, std::span<const float> y) {
  REQUIRE(x.size() == y.size());
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = std::abs(double{x[i]} - double{y[i]});
    // Not max(): a NaN must count as a difference.
    if (!(difference <= largest)) largest = std::isnan(difference) ? INFINITY : difference;
  }
  return largest;
}

// KL divergence of softmax(other) from softmax(truth), in nats.
inline double kl_divergence(std::span<const float> truth, std::span<const float> other) {
  REQUIRE(truth.size() == other.size());
  auto log_sum = [](std::span<const float> row) {
    const double largest = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (float logit : row) sum += std::exp(logit - largest);
    return largest + std::log(sum);
  };
  const double truth_sum = log_sum(truth), other_sum = log_sum(other);
  double kl = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double p = truth[i] - truth_sum;
    kl += std::exp(p) * (p - (other[i] - other_sum));
  }
  return kl;
}

}  // namespace facet::test
