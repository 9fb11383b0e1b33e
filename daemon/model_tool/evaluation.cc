#include "daemon/model_tool/evaluation.h"

#include <unistd.h>

#include <algorithm>

#include "daemon/engine/cache_plan.h"
#include "plugins/host/discovery.h"

namespace facet::model_tool {
namespace {

uint64_t machine_bytes() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

Result<void> check_size(const model::Model& model, const EvaluationSize& size) {
  const model::Config& config = model.config();
  if (size.positions > config.context) {
    return Error{FACET_TOO_LARGE, std::to_string(size.positions) + " positions are more than the model's " +
                                      std::to_string(config.context)};
  }
  if (size.rows > Evaluation::kMostRows) {
    return Error{FACET_TOO_LARGE, "a step of " + std::to_string(size.rows) + " rows is beyond the " +
                                      std::to_string(Evaluation::kMostRows) +
                                      " that are possible: a smaller chunk takes fewer"};
  }
  const uint64_t bytes = size.selected * config.vocabulary * sizeof(float);
  if (bytes > machine_bytes() / 2) {
    return Error{FACET_EXHAUSTED, "the logits of " + std::to_string(size.selected) + " rows at once take " +
                                      std::to_string(bytes) + " bytes: a smaller chunk takes less"};
  }
  return {};
}

}  // namespace

EvaluationSize one_sequence(uint32_t positions) {
  const uint32_t rows = std::min(positions, kPromptRows);
  return {.sequences = 1, .positions = positions, .chunk = rows, .rows = rows, .selected = 1};
}

Result<std::unique_ptr<Evaluation>> Evaluation::create(std::shared_ptr<const model::Model> model,
                                                       const ComputeOptions& compute,
                                                       const EvaluationSize& size) {
  FACET_CHECK(check_size(*model, size));
  engine::RunnerOptions options;
  options.cache_type = compute.cache_type;
  options.max_rows = static_cast<uint32_t>(size.rows);
  options.max_selected = static_cast<uint32_t>(size.selected);
  options.packing = {engine::packed_weights_folder(compute.packed_weights),
                     engine::PackingOptions().folder_bytes, compute.pack};
  uint64_t bytes = 0;
  for (uint32_t group = 0; group < model->windows().size(); ++group) {
    const uint32_t pages = engine::pages_needed(model->windows()[group], size.positions, size.chunk);
    options.pages.push_back(pages * size.sequences);
    bytes += options.pages.back() * engine::page_bytes(model->program(), group, compute.cache_type);
  }
  if (bytes > machine_bytes() / 2) {
    return Error{FACET_EXHAUSTED, "the cache takes " + std::to_string(bytes) + " bytes"};
  }
  auto pools = std::make_unique<engine::PagePools>(options.pages, model->windows());
  FACET_TRY(plugins::Device device, plugins::open_device(compute.backend, compute.threads));
  FACET_TRY(engine::Runner runner, engine::Runner::create(device, std::move(model), options));
  return std::unique_ptr<Evaluation>(
      new Evaluation(std::move(device), std::move(runner), std::move(pools), size));
}

Evaluation::Evaluation(plugins::Device device, engine::Runner runner,
                       std::unique_ptr<engine::PagePools> pools, const EvaluationSize& size)
    : device_(std::move(device)),
      runner_(std::move(runner)),
      size_(size),
      pools_(std::move(pools)),
      sequences_(size.sequences),
      batch_(pools_->groups()) {
  for (uint32_t i = 0; i < size.sequences; ++i) restart(i);
}

void Evaluation::step(std::span<const Part> parts) {
  batch_.clear();
  for (const Part& part : parts) {
    Sequence& sequence = sequences_[part.sequence];
    const uint32_t rows = static_cast<uint32_t>(part.tokens.size());
    sequence.pages->extend(sequence.position + rows);
    const uint32_t number = batch_.add_sequence(*sequence.pages);
    for (uint32_t row = 0; row < rows; ++row) {
      const bool selected = part.select == Select::kAll || (part.select == Select::kLast && row + 1 == rows);
      batch_.add_row(number, static_cast<uint32_t>(part.tokens[row]), sequence.position + row, selected);
    }
    sequence.position += rows;
  }
  runner_.run(batch_);
}

void Evaluation::read_logits(uint32_t first, uint32_t rows, std::span<float> logits) {
  runner_.read_logits(first, rows, logits);
}

void Evaluation::read_hidden(uint32_t first, uint32_t rows, std::span<float> hidden) {
  runner_.read_hidden(first, rows, hidden);
}

void Evaluation::draft(engine::DraftRunner& runner, uint32_t sequence, text::Token token,
                       std::span<const float> hidden) {
  batch_.clear();
  const uint32_t number = batch_.add_sequence(*sequences_[sequence].pages);
  batch_.add_reader(number, static_cast<uint32_t>(token), sequences_[sequence].position);
  runner.run(batch_, hidden, runner_.cache());
}

void Evaluation::retire(uint32_t sequence) {
  sequences_[sequence].pages->retire(sequences_[sequence].position);
}

void Evaluation::rewind(uint32_t sequence, uint32_t position) {
  sequences_[sequence].position = position;
}

Result<void> Evaluation::repeat_page(uint32_t sequence, uint32_t position) {
  engine::SequencePages& pages = *sequences_[sequence].pages;
  const uint32_t read = sequences_[sequence].position / model::kPagePositions;  // blocks
  for (uint32_t block = read; block * model::kPagePositions < position; ++block) {
    const uint32_t end = std::min((block + 1) * model::kPagePositions, position);
    pages.extend(end);
    for (uint32_t group = 0; group < pools_->groups(); ++group) {
      const facet_page_table table = pages.table(group);
      const uint32_t* page = table.pages + (block - table.first_block);
      FACET_CHECK(runner_.cache().copy_page(group, page[-1], page[0]));
    }
    pages.retire(end);
  }
  sequences_[sequence].position = position;
  return {};
}

void Evaluation::restart(uint32_t sequence) {
  sequences_[sequence].pages.reset();  // first, so that its pages are free
  sequences_[sequence].pages.emplace(*pools_, size_.positions, size_.chunk);
  sequences_[sequence].position = 0;
}

Result<void> evaluate_all(Evaluation& evaluation, std::span<const std::vector<text::Token>> sequences,
                          uint32_t chunk, uint32_t first, const RowSink& sink) {
  std::vector<float> row(evaluation.model().config().vocabulary);
  std::vector<Part> parts;
  for (size_t start = 0;; start += chunk) {
    parts.clear();
    for (uint32_t i = 0; i < sequences.size(); ++i) {
      if (start >= sequences[i].size()) continue;
      const size_t rows = std::min<size_t>(chunk, sequences[i].size() - start);
      const Select select = start + rows > first ? Select::kAll : Select::kNone;
      parts.push_back({i, std::span(sequences[i]).subspan(start, rows), select});
    }
    if (parts.empty()) return {};
    evaluation.step(parts);
    uint32_t selected = 0;
    for (const Part& part : parts) {
      evaluation.retire(part.sequence);
      if (part.select == Select::kNone) continue;
      for (size_t position = start; position < start + part.tokens.size(); ++position, ++selected) {
        if (position < first) continue;
        evaluation.read_logits(selected, 1, row);
        FACET_CHECK(sink(part.sequence, static_cast<uint32_t>(position), row));
      }
    }
  }
}

text::Token greedy(std::span<const float> logits) {
  return static_cast<text::Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

Result<void> check_tokens(const model::Model& model, std::span<const text::Token> tokens) {
  if (tokens.empty()) return Error{FACET_INVALID_ARGUMENT, "there are no ids"};
  for (text::Token token : tokens) {
    if (model.tokenizer().vocabulary().contains(token)) continue;
    return Error{FACET_INVALID_ARGUMENT, "id " + std::to_string(token) + " is no token: there are " +
                                             std::to_string(model.config().vocabulary)};
  }
  return {};
}

}  // namespace facet::model_tool
