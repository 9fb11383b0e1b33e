#include "daemon/engine/served_model.h"

#include <algorithm>

#include "daemon/base/log.h"
#include "daemon/engine/chat_prompt.h"
#include "sdk/protocol/limits.h"

namespace facet::engine {
namespace {

// When one who found the queue full may try again, milliseconds.
constexpr double kLeastRetryMs = 100, kMostRetryMs = 60'000;

// Of the request that reads a registered prompt. The broker counts its ids from 1, and its keys are this one
// no sooner than those of two users are equal.
constexpr uint64_t kPromptId = UINT64_MAX, kAdministrator = UINT64_MAX;

// Blocks of a sequence that may come from the cache: its last token is read in any case, for its logits.
uint32_t reusable_blocks(std::span<const text::Token> tokens) {
  return tokens.empty() ? 0 : static_cast<uint32_t>((tokens.size() - 1) / model::kPagePositions);
}

// Of those of `b`, the first ones that begin `a` too.
uint32_t shared_blocks(std::span<const text::Token> a, std::span<const text::Token> b) {
  const size_t same =
      static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  return std::min(static_cast<uint32_t>(same / model::kPagePositions), reusable_blocks(b));
}

}  // namespace

Result<std::unique_ptr<ServedModel>> ServedModel::load(plugins::Device& device, const std::string& path,
                                                       std::span<const link::RegisterPrompt> registered,
                                                       const EngineOptions& options,
                                                       const Engine::Sink& sink) {
  FACET_TRY(auto model, model::Model::load(path));
  const uint32_t context = std::min(options.context, model->config().context);
  RunnerOptions wanted;
  wanted.cache_type = options.cache_type;
  auto chat_format = chat_format_of(*model);
  FACET_TRY(PromptPlan plan,
            plan_prompts(registered, *model, chat_format, wanted.cache_type,
                         {context, options.chunk, options.max_sequences, options.cache_bytes}));
  wanted.pages = std::move(plan.pages);
  wanted.max_rows =
      options.chunk + options.max_sequences;  // so that generating never leaves a prompt without rows
  wanted.max_selected = options.max_sequences;
  wanted.places = kClasses;
  wanted.slice_micros = options.slice_micros;
  wanted.packing = options.packing;
  auto pools = std::make_unique<PagePools>(wanted.pages, model->windows());
  for (uint32_t group = 0; group < pools->groups(); ++group) {
    pools->pool(group).set_aside(plan.set_aside[group]);
  }
  FACET_TRY(Runner runner, Runner::create(device, std::move(model), wanted));
  std::unique_ptr<ServedModel> served(new ServedModel(std::move(runner), std::move(pools),
                                                      std::move(chat_format), std::move(plan.prompts),
                                                      options, context, sink));
  served->read_prompt();
  return served;
}

ServedModel::ServedModel(Runner runner, std::unique_ptr<PagePools> pools,
                         Result<text::ChatFormat> chat_format, std::vector<RegisteredPrompt> prompts,
                         const EngineOptions& options, uint32_t context, Engine::Sink sink)
    : runner_(std::move(runner)),
      pools_(std::move(pools)),
      options_(options),
      chat_format_(std::move(chat_format)),
      context_(context),
      sink_(std::move(sink)),
      prompts_(std::move(prompts)),
      steps_(kClasses, Step(pools_->groups())),
      logits_(runner_.model().config().vocabulary) {}

Result<void> ServedModel::add(const link::Start& start, Micros arrived) {
  if (!scheduler_.has_room(start.user, max_waiting())) return queue_is_full(start);
  const uint64_t id = start.request.id;
  if (requests_.count(id) != 0) return Error{FACET_INVALID_ARGUMENT, "id: it is in use"};
  FACET_TRY(Sequence sequence, Sequence::make(start.request, model(), chat_format_, context_, arrived));
  const auto which = static_cast<size_t>(start.request.priority);
  const Owner owner{start.user, start.app, start.weight};
  Request& request =
      requests_.emplace(id, Request{std::move(sequence), owner, start.reader, which, start.deadline})
          .first->second;
  scheduler_.add(id, which, owner);
  if (start.deadline == 0) return {};
  deadlines_.emplace(start.deadline, id);
  Result<void> checked = check_deadline(request);
  if (!checked.ok()) forget(request);
  return checked;
}

void ServedModel::read_prompt() {
  if (prompts_read_ == prompts_.size()) return;
  protocol::Generate generate;
  generate.id = kPromptId;
  generate.prompt = prompts_[prompts_read_].tokens;
  generate.max_tokens = 1;
  constexpr auto kClass = static_cast<size_t>(protocol::Priority::kBackground);
  Sequence sequence = Sequence::make(generate, model(), chat_format_, context_, now_micros()).value();
  const Owner owner{kAdministrator, {}, 1};
  Request& request =
      requests_.emplace(kPromptId, Request{std::move(sequence), owner, kAdministrator, kClass}).first->second;
  request.registered = true;
  scheduler_.add(kPromptId, kClass, owner);
}

void ServedModel::keep_prompt(Request& request) {
  request.sequence.keep_shared();
  const uint32_t tokens = request.sequence.prompt_tokens();
  prompt_tokens_ += tokens;
  log::info("prompt " + prompts_[prompts_read_].name + ": " + std::to_string(tokens) +
            " tokens are kept for everyone");
  forget(request);
  ++prompts_read_;
  read_prompt();
}

size_t ServedModel::max_waiting() const {
  const auto prompt = requests_.find(kPromptId);
  const bool waits = prompt != requests_.end() && !prompt->second.sequence.started();
  return options_.max_waiting + size_t{waits};
}

Error ServedModel::queue_is_full(const link::Start& start) const {
  Error error = scheduler_.no_room(start.user);
  error.retry_after_ms = retry_after_ms(static_cast<size_t>(start.request.priority));
  return error;
}

uint32_t ServedModel::retry_after_ms(size_t which) const {
  // When the next of its class is to be expected to start.
  const auto next = scheduler_.next_waiting(which);
  const double micros = next ? scheduler_.expected(*next, places(), 0) : 0;
  return static_cast<uint32_t>(std::clamp(micros / 1000, kLeastRetryMs, kMostRetryMs));
}

Result<void> ServedModel::check_deadline(const Request& request) {
  const Sequence& sequence = request.sequence;
  const uint32_t found = read_before(request).blocks;
  const double prompt = prompt_micros(request.which, sequence.pending() - found * model::kPagePositions);
  const double expected = scheduler_.expected(sequence.id(), places(), prompt);
  const auto left = static_cast<double>(request.deadline - now_micros());
  if (expected <= left) return {};
  const auto ms = [](double micros) { return std::to_string(static_cast<int64_t>(micros / 1000)) + " ms"; };
  return Error{FACET_DEADLINE, "deadline: it is " + ms(std::max(left, 0.0)) +
                                   " away, the first token is expected in " + ms(std::min(expected, 1e15))};
}

void ServedModel::cancel(uint64_t id) {
  auto found = requests_.find(id);
  if (found == requests_.end()) return;
  found->second.sequence.cancel();
  finish(found->second);
}

void ServedModel::grant(uint64_t id, uint32_t tokens) {
  auto found = requests_.find(id);
  if (found == requests_.end()) return;
  Sequence& sequence = found->second.sequence;
  sequence.grant(tokens);
  if (sequence.started()) {
    update(found->second);
  } else if (!sequence.paused()) {
    scheduler_.resume(id);
  }
}

void ServedModel::expire(Micros now) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Request& request = requests_.at(deadlines_.begin()->second);
    request.sequence.expire();
    finish(request);
  }
}

std::optional<Micros> ServedModel::next_deadline() const {
  if (deadlines_.empty()) return std::nullopt;
  return deadlines_.begin()->first;
}

void ServedModel::admit() {
  const auto fits = [this](uint64_t id, const std::vector<uint64_t>& gone) {
    return this->fits(requests_.at(id).sequence, gone);
  };
  while (const auto admission = scheduler_.admit(now_micros(), fits)) {
    Request& request = requests_.at(admission->id);
    for (const uint64_t id : admission->evicted) evict(requests_.at(id), request.which);
    start(request);
  }
  blocked_ = false;
  for (size_t which = 0; which < kClasses; ++which) blocked_ |= scheduler_.next_waiting(which).has_value();
}

bool ServedModel::fits(const Sequence& sequence, const std::vector<uint64_t>& gone) const {
  if (scheduler_.running() - gone.size() >= options_.max_sequences) return false;
  for (uint32_t group = 0; group < pools_->groups(); ++group) {
    uint32_t free = pools_->pool(group).unreserved();
    for (const uint64_t id : gone) free += requests_.at(id).sequence.pages().reserved(group);
    if (free < pages_needed(pools_->window(group), sequence.positions(), options_.chunk)) return false;
  }
  return true;
}

void ServedModel::start(Request& request) {
  Sequence& sequence = request.sequence;
  const Prefix prefix = read_before(request);
  auto pages = std::make_unique<SequencePages>(*pools_, sequence.positions(), options_.chunk, prefix);
  sequence.start(std::move(pages), prefix.blocks * model::kPagePositions, now_micros());
  cached_tokens_ += sequence.cached();
  scheduler_.start(sequence.id());
  follow(request);
  update(request);
  if (!request.registered) sink_(link::Started{sequence.id(), sequence.prompt_tokens()});
}

Prefix ServedModel::read_before(const Request& request) {
  const auto tokens = request.sequence.tokens();
  return pools_->prefixes().find(request.reader, tokens, reusable_blocks(tokens));
}

void ServedModel::follow(Request& request) {
  const Sequence& sequence = request.sequence;
  request.awaited = sequence.cached() / model::kPagePositions;
  for (const uint64_t id : scheduler_.running(request.which)) {
    const Request& other = requests_.at(id);
    const Sequence& its = other.sequence;
    if (its.pending() <= 1 || its.paused() || other.follows != nullptr || &other == &request) continue;
    if (other.reader != request.reader || other.owner.app != request.owner.app) continue;
    const uint32_t shared = shared_blocks(its.tokens(), sequence.tokens());
    // It has given back what a row there sees of a window.
    if (shared < reusable_blocks(its.tokens().first(its.cached()))) continue;
    if (shared <= request.awaited) continue;
    request.follows = &other;
    request.awaited = shared;
  }
  if (request.follows == nullptr) return;
  followers_.push_back(&request);
  release_followers(*request.follows, false);
}

void ServedModel::release_followers(const Request& leader, bool ends) {
  std::vector<Request*> released;
  for (Request* follower : followers_) {
    if (follower->follows != &leader) continue;
    const uint32_t awaited = follower->awaited * model::kPagePositions;
    if (leader.sequence.started() && leader.sequence.cached() >= awaited) {
      leader.sequence.keep(leader.owner.user, leader.reader, awaited);
    } else if (!ends) {
      continue;
    }
    released.push_back(follower);
  }
  // Of those whose leader ends the first one leads the others, which still follow until it is their turn.
  // Else all first: one of them may follow another from here on.
  for (Request* follower : released) {
    if (!ends) stop_following(*follower);
  }
  for (Request* follower : released) {
    stop_following(*follower);
    const Prefix prefix = read_before(*follower);
    const uint32_t tokens = prefix.blocks * model::kPagePositions;
    const bool more = tokens > follower->sequence.cached();
    if (more) {
      cached_tokens_ += tokens - follower->sequence.cached();
      follower->sequence.reuse(prefix);
    }
    if (more || ends) follow(*follower);
    update(*follower);
  }
}

void ServedModel::stop_following(Request& request) {
  if (std::exchange(request.follows, nullptr) != nullptr) std::erase(followers_, &request);
}

void ServedModel::evict(Request& request, size_t whose) {
  drop_from_step(request);
  request.sequence.keep(request.owner.user, request.reader);
  request.sequence.evict();
  ++evicted_;
  scheduler_.evict(request.sequence.id(), whose);
  stop_following(request);
  release_followers(request, true);
}

void ServedModel::drop_from_step(const Request& request) {
  Step& step = steps_[request.which];
  for (uint32_t part = 0; part < step.parts.size(); ++part) {
    if (step.parts[part].request != &request) continue;
    step.batch.drop_sequence(part);
    step.parts[part].request = nullptr;
  }
}

void ServedModel::update(Request& request) {
  const Sequence& sequence = request.sequence;
  const uint32_t pending = request.follows != nullptr ? 0 : sequence.pending();
  scheduler_.update(sequence.id(), pending, sequence.paused(), now_micros());
}

bool ServedModel::ready(size_t which) const {
  return !steps_[which].parts.empty() || scheduler_.ready(which);
}

Micros ServedModel::slice(size_t which) {
  const auto place = static_cast<uint32_t>(which);
  Step& step = steps_[which];
  if (step.parts.empty()) {
    parked_ += parks(which);
    fill(which);
  }
  Micros took = 0;
  if (!runner_.over(place)) {
    took = runner_.slice(place);
    charge(step, which, took);
  }
  if (runner_.over(place)) took += commit(which, took);
  return took;
}

double ServedModel::prompt_micros(size_t which, uint32_t tokens) const {
  const RunCosts& costs = runner_.costs();
  const Micros now = now_micros();
  const uint32_t generating = scheduler_.generating(which);
  const uint32_t most = scheduler_.step_rows(which, generating, runner_.max_rows(), costs, now);
  const uint32_t rows = std::min(most, options_.chunk);
  const uint32_t rest = tokens % rows;
  return tokens / rows * costs.run_micros(rows, now) + (rest == 0 ? 0 : costs.run_micros(rest, now));
}

void ServedModel::fill(size_t which) {
  Step& step = steps_[which];
  step.batch.clear();
  const StepSize size = scheduler_.step_size(which, runner_.max_rows(), runner_.costs(), now_micros());
  for (const Share& share : scheduler_.plan(which, size, options_.chunk)) {
    Request& request = requests_.at(share.id);
    Sequence& sequence = request.sequence;
    const uint32_t first = sequence.cached();
    const bool selected = share.rows == sequence.pending();
    sequence.pages().extend(first + share.rows);
    const uint32_t number = step.batch.add_sequence(sequence.pages());
    for (uint32_t row = 0; row < share.rows; ++row) {
      const uint32_t position = first + row;
      step.batch.add_row(number, sequence.token(position), position, selected && row + 1 == share.rows);
    }
    step.parts.push_back({&request, share.rows, selected});
  }
  runner_.begin(static_cast<uint32_t>(which), step.batch);
}

bool ServedModel::parks(size_t which) const {
  for (size_t other = which + 1; other < kClasses; ++other) {
    if (!steps_[other].parts.empty()) return true;
  }
  return false;
}

void ServedModel::charge(const Step& step, size_t which, Micros took) {
  const double per_row = static_cast<double>(took) / step.batch.live_rows();
  for (const Part& part : step.parts) {
    if (part.request != nullptr) scheduler_.charge(which, part.request->owner, per_row * part.rows);
  }
}

Micros ServedModel::commit(size_t which, Micros used) {
  Step& step = steps_[which];
  Micros took = 0;
  while (step.committed < step.parts.size() && (took == 0 || used + took < options_.slice_micros)) {
    Part& part = step.parts[step.committed++];
    const uint32_t row = step.selected;
    if (part.selected) ++step.selected;
    if (part.request == nullptr) continue;
    const Micros began = now_micros();
    const Owner owner = part.request->owner;  // it may end here
    commit(*std::exchange(part.request, nullptr), part, row);
    const Micros its = now_micros() - began;
    scheduler_.charge(which, owner, static_cast<double>(its));
    took += its;
  }
  if (step.committed < step.parts.size()) return took;
  step.parts.clear();
  step.committed = step.selected = 0;
  return took;
}

void ServedModel::commit(Request& request, const Part& part, uint32_t row) {
  Sequence& sequence = request.sequence;
  sequence.advance(part.rows);
  computed_tokens_ += part.rows;
  release_followers(request, false);
  sequence.retire();
  if (!part.selected) return update(request);
  if (request.registered) return keep_prompt(request);
  if (sequence.cached() == sequence.prompt_tokens()) sequence.keep(request.owner.user, request.reader);
  runner_.read_logits(row, 1, logits_, static_cast<uint32_t>(request.which));
  auto token = sequence.sample(logits_, workspace_, now_micros());
  if (!token.ok()) {
    sink_(protocol::Failed{sequence.id(), token.error().code, token.error().message});
    return forget(request);
  }
  if (*token) sink_(std::move(**token));
  if (sequence.finished()) {
    finish(request);
  } else {
    update(request);
  }
}

void ServedModel::finish(Request& request) {
  if (request.sequence.started()) request.sequence.keep(request.owner.user, request.reader);
  sink_(request.sequence.finish(now_micros()));
  forget(request);
}

void ServedModel::forget(Request& request) {
  drop_from_step(request);
  const uint64_t id = request.sequence.id();
  scheduler_.remove(id);
  if (request.deadline != 0) deadlines_.erase({request.deadline, id});
  stop_following(request);
  const auto ended = requests_.extract(id);
  release_followers(ended.mapped(), true);
}

bool ServedModel::waits(uint64_t id) const {
  auto found = requests_.find(id);
  return found != requests_.end() && !found->second.sequence.started() && !found->second.sequence.paused();
}

std::optional<link::Position> ServedModel::position(uint64_t id) const {
  if (!waits(id)) return std::nullopt;
  const double wait = std::min<double>(scheduler_.expected(id, places(), 0) / 1000, protocol::kMaxWaitMs);
  return link::Position{id, static_cast<uint32_t>(scheduler_.position(id) + 1), static_cast<uint32_t>(wait)};
}

link::Load ServedModel::load() const {
  link::Load load;
  load.running = static_cast<uint32_t>(scheduler_.running());
  load.waiting = static_cast<uint32_t>(scheduler_.waiting());
  for (uint32_t group = 0; group < pools_->groups(); ++group) {
    load.cache_pages += pools_->pool(group).pages();
    load.cache_pages_free += pools_->pool(group).unheld() - pools_->pool(group).set_aside();
  }
  load.parked = parked_;
  load.evicted = evicted_;
  load.cached_tokens = cached_tokens_;
  load.computed_tokens = computed_tokens_;
  load.registered_prompts = prompts_read_;
  load.registered_tokens = prompt_tokens_;
  return load;
}

}  // namespace facet::engine
