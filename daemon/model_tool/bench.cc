#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <random>

#include "daemon/base/clock.h"
#include "daemon/engine/cache_plan.h"
#include "daemon/model_tool/commands.h"
#include "daemon/model_tool/process_memory.h"

namespace facet::model_tool {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// Tokens of the depth that are computed.
uint32_t read_of(const BenchOptions& options) {
  return options.read == 0 ? options.depth : std::min(options.read, options.depth);
}

// Runs the two parts on random tokens: what is measured does not depend on which they are. Every timed run
// ends with the logits read, as an engine must.
class Bench {
 public:
  Bench(Evaluation& evaluation, const BenchOptions& options)
      : evaluation_(evaluation),
        options_(options),
        tokens_(std::max({options.depth, options.prompt, options.sequences, 1u})),
        row_(evaluation.model().config().vocabulary) {
    std::mt19937 random(1);
    for (text::Token& token : tokens_) token = static_cast<text::Token>(random() % row_.size());
  }

  // Puts `depth` tokens into a sequence's cache.
  Result<void> fill(uint32_t sequence) {
    feed(sequence, read_of(options_), Select::kNone);
    evaluation_.retire(sequence);
    return read_of(options_) < options_.depth ? evaluation_.repeat_page(sequence, options_.depth)
                                              : Result<void>();
  }

  // Tokens per second, the median of all repetitions.
  double prompt() {
    return measure(options_.prompt, [&] {
      evaluation_.rewind(0, options_.depth);
      feed(0, options_.prompt, Select::kLast);
      evaluation_.read_logits(0, 1, row_);
    });
  }

  double generate() {
    std::vector<Part> parts;
    for (uint32_t i = 0; i < options_.sequences; ++i) {
      parts.push_back({i, std::span(tokens_).subspan(i, 1), Select::kLast});
    }
    return measure(uint64_t{options_.generate} * options_.sequences, [&] {
      for (uint32_t i = 0; i < options_.sequences; ++i) evaluation_.rewind(i, options_.depth);
      for (uint32_t step = 0; step < options_.generate; ++step) {
        evaluation_.step(parts);
        for (uint32_t i = 0; i < options_.sequences; ++i) evaluation_.read_logits(i, 1, row_);
      }
    });
  }

 private:
  template <typename Run>
  double measure(uint64_t tokens, const Run& run) {
    std::vector<double> per_second;
    run();  // untimed: touches what is touched first
    for (uint32_t i = 0; i < options_.repetitions; ++i) {
      const Micros start = now_micros();
      run();
      const auto took = static_cast<double>(std::max<Micros>(now_micros() - start, 1));
      per_second.push_back(static_cast<double>(tokens) * 1e6 / took);
    }
    return median(std::move(per_second));
  }

  // `last`: what is selected in the last step.
  void feed(uint32_t sequence, uint32_t count, Select last) {
    for (uint32_t start = 0; start < count; start += options_.rows) {
      const uint32_t rows = std::min(options_.rows, count - start);
      const Select select = start + rows == count ? last : Select::kNone;
      const Part part{sequence, std::span(tokens_).subspan(start, rows), select};
      evaluation_.step({&part, 1});
      if (last == Select::kNone) evaluation_.retire(sequence);
    }
  }

  Evaluation& evaluation_;
  const BenchOptions& options_;
  std::vector<text::Token> tokens_;
  std::vector<float> row_;
};

EvaluationSize size_of(const BenchOptions& options) {
  const uint32_t longest = std::max(options.prompt, options.generate);
  const uint32_t fill = std::min(read_of(options), options.rows);
  EvaluationSize size;
  size.sequences = options.sequences;
  size.positions = options.depth + longest;
  size.chunk = std::max(longest, fill);
  size.rows = std::max({std::min(options.prompt, options.rows), fill, options.sequences});
  size.selected = options.sequences;
  return size;
}

}  // namespace

Result<void> bench(const BenchOptions& options) {
  if (options.prompt == 0 && options.generate == 0) {
    return Error{FACET_INVALID_ARGUMENT, "with -p 0 and -n 0 there is nothing to measure"};
  }
  FACET_TRY(auto model, model::Model::load(options.file));
  FACET_TRY(auto evaluation, Evaluation::create(std::move(model), options.compute, size_of(options)));
  Bench bench(*evaluation, options);
  nlohmann::ordered_json report{{"file", options.file},
                                {"numerics", evaluation->numerics()},
                                {"threads", options.compute.threads},
                                {"cache", engine::cache_type_name(options.compute.cache_type)},
                                {"depth", options.depth},
                                {"repetitions", options.repetitions}};
  FACET_CHECK(bench.fill(0));
  if (options.prompt > 0) {
    report["prompt"] = options.prompt;
    report["rows"] = options.rows;
    report["prompt_tps"] = bench.prompt();
  }
  if (options.generate > 0) {
    for (uint32_t i = 1; i < options.sequences; ++i) FACET_CHECK(bench.fill(i));
    report["sequences"] = options.sequences;
    report["generate"] = options.generate;
    report["generate_tps"] = bench.generate();
  }
  FACET_TRY(ProcessMemory memory, process_memory(evaluation->model().file()));
  report["private_bytes"] = memory.private_bytes;
  report["weights_resident_bytes"] = memory.resident_bytes;
  if (options.json) {
    std::printf("%s\n", report.dump().c_str());
    return {};
  }
  for (const auto& [key, value] : report.items()) {
    if (value.is_number_float()) {
      std::printf("%-13s %.2f\n", key.c_str(), value.get<double>());
    } else {
      std::printf("%-13s %s\n", key.c_str(),
                  value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str());
    }
  }
  return {};
}

}  // namespace facet::model_tool
