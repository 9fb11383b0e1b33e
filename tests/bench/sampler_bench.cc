// Microseconds a row of 262,144 logits takes the sampler, over rows of several widths: normally distributed
// logits with the given standard deviation, and "model": a wide bulk with a few hundred likely tokens above
// it.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "daemon/sampling/sampler.h"

namespace {

using namespace facet::sampling;

constexpr uint32_t kVocab = 262144;

std::vector<float> row_of(float deviation) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> row(kVocab);
  for (float& x : row) x = deviation * normal(random);
  return row;
}

std::vector<float> model_row() {
  std::vector<float> row = row_of(2.5f);
  std::mt19937 random(8);
  for (float& x : row) x -= 8;
  for (int i = 0; i < 300; ++i) row[random() % kVocab] = 4 + 14 * std::exp(-0.03f * float(i));
  return row;
}

SamplingParams typical() {
  SamplingParams params;
  params.top_k = 64;
  params.top_p = 0.95f;
  params.repeat_penalty = 1.1f;
  params.presence_penalty = 0.1f;
  return params;
}

SamplingParams nucleus(float temperature = 1) {
  SamplingParams params;
  params.temperature = temperature;
  params.top_p = 0.95f;
  return params;
}

SamplingParams greedy(bool logprobs) {
  SamplingParams params;
  params.temperature = 0;
  params.report_logprobs = logprobs;
  params.logprobs = logprobs ? 20 : 0;
  return params;
}

SamplingParams min_p() {
  SamplingParams params;
  params.min_p = 0.05f;
  return params;
}

SamplingParams everything() {
  SamplingParams params = typical();
  params.temperature = 0.8f;
  params.report_logprobs = true;
  params.logprobs = 20;
  return params;
}

void sample_rows(benchmark::State& state, const SamplingParams& params, const std::vector<float>& row,
                 RowIsa isa) {
  if (!row_kernels(isa)) return state.SkipWithError("not on this processor");
  Workspace workspace(isa);
  Sampler sampler(params);
  std::mt19937 random(9);
  for (int i = 0; i < 64; ++i) sampler.accept(random() % kVocab);
  uint64_t position = 0;
  for (auto _ : state) {
    auto sample = sampler.sample(row, position++, workspace);
    if (!sample) return state.SkipWithError(sample.error().message.c_str());
    benchmark::DoNotOptimize(sample->token);
  }
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  const std::vector<std::pair<std::string, SamplingParams>> cases = {
      {"greedy", greedy(false)},
      {"greedy_logprobs20", greedy(true)},
      {"k64_p95_penalties", typical()},
      {"k64_p95_penalties_t0.8_logprobs20", everything()},
      {"p95", nucleus()},
      {"p95_t0.7", nucleus(0.7f)},
      {"p95_t1.5", nucleus(1.5f)},
      {"minp05", min_p()},
      {"plain", SamplingParams{}},
  };
  const std::vector<std::pair<std::string, std::vector<float>>> rows = {{"model", model_row()},
                                                                        {"sd1", row_of(1)},
                                                                        {"sd2", row_of(2)},
                                                                        {"sd4", row_of(4)},
                                                                        {"equal", row_of(0)}};
  for (const auto& [name, params] : cases) {
    for (const auto& [row_name, row] : rows) {
      for (const auto& [isa_name, isa] :
           {std::pair{"avx512", RowIsa::kAvx512}, std::pair{"avx2", RowIsa::kAvx2},
            std::pair{"portable", RowIsa::kPortable}}) {
        benchmark::RegisterBenchmark((name + "/" + row_name + "/" + isa_name).c_str(), sample_rows, params,
                                     row, isa)
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
