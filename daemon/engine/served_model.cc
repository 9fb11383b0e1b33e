#include "daemon/engine/served_model.h"

#include <algorithm>
#include <array>

#include "daemon/engine/cache_plan.h"
#include "daemon/engine/chat_prompt.h"
#include "daemon/engine/scheduler.h"

namespace facet::engine {

Result<std::unique_ptr<ServedModel>> ServedModel::load(plugins::Device& device, const std::string& path,
                                                       const EngineOptions& options,
                                                       const Engine::Sink& sink) {
  FACET_TRY(auto model, model::Model::load(path));
  const uint32_t context = std::min(options.context, model->config().context);
  RunnerOptions wanted;
  wanted.cache_type = options.cache_f32 ? FACET_TYPE_F32 : FACET_TYPE_F16;
  FACET_TRY(wanted.pages, plan_pages(model->program(), model->windows(), wanted.cache_type,
                                     {context, options.chunk, options.max_sequences, options.cache_bytes}));
  wanted.max_rows =
      options.chunk + options.max_sequences;  // so that generating never leaves a prompt without rows
  wanted.max_selected = options.max_sequences;
  PagePools pools;
  for (uint32_t pages : wanted.pages) pools.pools.emplace_back(pages);
  pools.windows = model->windows();
  FACET_TRY(Runner runner, Runner::create(device, std::move(model), wanted));
  return std::unique_ptr<ServedModel>(
      new ServedModel(std::move(runner), std::move(pools), options, context, sink));
}

ServedModel::ServedModel(Runner runner, PagePools pools, const EngineOptions& options, uint32_t context,
                         Engine::Sink sink)
    : runner_(std::move(runner)),
      pools_(std::move(pools)),
      options_(options),
      chat_format_(chat_format_of(runner_.model())),
      context_(context),
      sink_(std::move(sink)),
      batch_(static_cast<uint32_t>(pools_.pools.size())),
      logits_(runner_.model().config().vocabulary) {}

Result<void> ServedModel::add(const protocol::Generate& request) {
  if (waiting_.size() >= options_.max_waiting) {
    return Error{FACET_EXHAUSTED, std::to_string(waiting_.size()) + " requests wait for this model already"};
  }
  FACET_TRY(Sequence sequence, Sequence::make(request, model(), chat_format_, context_, now_micros()));
  waiting_.push_back(std::move(sequence));
  return {};
}

void ServedModel::cancel(uint64_t id) {
  auto waiting =
      std::find_if(waiting_.begin(), waiting_.end(), [&](const Sequence& s) { return s.id() == id; });
  if (waiting != waiting_.end()) {
    waiting->cancel();
    sink_(waiting->finish(now_micros()));
    waiting_.erase(waiting);
    return;
  }
  for (auto& sequence : running_) {
    if (sequence->id() != id) continue;
    sequence->cancel();  // swept after the step, whose remaining slices leave it out
    for (uint32_t part = 0; part < parts_.size(); ++part) {
      if (parts_[part].sequence == sequence.get()) batch_.drop_sequence(part);
    }
    return;
  }
}

void ServedModel::grant(uint64_t id, uint32_t tokens) {
  for (Sequence& sequence : waiting_) {
    if (sequence.id() == id) return sequence.grant(tokens);
  }
  for (auto& sequence : running_) {
    if (sequence->id() == id) return sequence->grant(tokens);
  }
}

bool ServedModel::step(const std::function<void()>& between) {
  sweep();
  admit();
  if (!fill()) return false;
  runner_.run(batch_, between);
  commit();
  parts_.clear();
  sweep();
  return true;
}

void ServedModel::admit() {
  while (!waiting_.empty() && running_.size() < options_.max_sequences) {
    Sequence& first = waiting_.front();
    auto pages = std::make_unique<SequencePages>(pools_, first.positions(), options_.chunk);
    if (!pages->valid()) return;
    first.start(std::move(pages), now_micros());
    sink_(link::Started{first.id(), first.prompt_tokens()});
    running_.push_back(std::make_unique<Sequence>(std::move(first)));
    waiting_.pop_front();
  }
}

bool ServedModel::fill() {
  std::vector<Candidate> candidates;
  for (auto& sequence : running_) candidates.push_back({sequence->pending(), sequence->paused()});
  batch_.clear();
  for (const Share& share : plan_step(candidates, runner_.max_rows(), options_.chunk)) {
    Sequence& sequence = *running_[share.candidate];
    const uint32_t first = sequence.cached();
    const bool selected = share.rows == sequence.pending();
    sequence.pages().extend(first + share.rows);
    const uint32_t number = batch_.add_sequence(sequence.pages());
    for (uint32_t row = 0; row < share.rows; ++row) {
      const uint32_t position = first + row;
      batch_.add_row(number, sequence.token(position), position, selected && row + 1 == share.rows);
    }
    parts_.push_back({&sequence, share.rows, selected});
  }
  return !parts_.empty();
}

void ServedModel::commit() {
  uint32_t selected = 0;  // numbers the selected rows, whether their sequences still count or not
  for (const Part& part : parts_) {
    const uint32_t row = selected;
    if (part.selected) ++selected;
    Sequence& sequence = *part.sequence;
    if (sequence.finished()) continue;  // cancelled between slices
    sequence.advance(part.rows);
    if (!part.selected) continue;
    runner_.read_logits(row, 1, logits_);
    auto token = sequence.sample(logits_, workspace_, now_micros());
    if (!token.ok()) {
      sink_(protocol::Failed{sequence.id(), token.error().code, token.error().message});
      std::erase_if(running_, [&](auto& s) { return s.get() == &sequence; });
      continue;
    }
    if (*token) sink_(std::move(**token));
  }
}

void ServedModel::sweep() {
  std::erase_if(running_, [&](std::unique_ptr<Sequence>& sequence) {
    if (!sequence->finished()) return false;
    sink_(sequence->finish(now_micros()));
    return true;
  });
}

uint64_t ServedModel::pages() const {
  uint64_t pages = 0;
  for (const PagePool& pool : pools_.pools) pages += pool.pages();
  return pages;
}

uint64_t ServedModel::pages_free() const {
  uint64_t pages = 0;
  for (const PagePool& pool : pools_.pools) pages += pool.free();
  return pages;
}

}  // namespace facet::engine
