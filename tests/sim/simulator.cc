#include "tests/sim/simulator.h"

#include <algorithm>

namespace facet::sim {

double Cost::of(uint32_t rows, uint32_t first, uint32_t end) const {
  const auto parts = [](uint32_t cut) { return cut + 9.0 * ((cut + 4) / 10); };  // of those before it
  return (step + row * rows) * (parts(end) - parts(first)) / parts(cuts);
}

Simulator::Simulator(Settings settings) : settings_(settings), costs_(settings.slice) {}

void Simulator::submit(Request request) {
  times_.insert_or_assign(request.id, Times{request.arrival});
  arrivals_.push(std::move(request));
}

void Simulator::cancel(uint64_t id) {
  if (sequences_.count(id) != 0) forget(id);
}

void Simulator::arrive() {
  while (!arrivals_.empty() && arrivals_.top().arrival <= now_) {
    const Request& request = arrivals_.top();
    scheduler_.add(request.id, request.priority, request.owner);
    count(request, 1, 0);
    sequences_.emplace(request.id, Sequence{request, request.prompt});
    arrivals_.pop();
  }
}

void Simulator::count(const Request& request, int waiting, int running) {
  Class& c = classes_[request.priority];
  const engine::Owner& owner = request.owner;
  c.waiting += static_cast<size_t>(waiting);
  c.users[owner.user].weight = owner.weight;
  for (Account* account : {&c.users[owner.user], &c.apps[{owner.user, owner.app}]}) {
    const bool was_hungry = account->waiting > 0 && account->running == 0;
    if (was_hungry) account->longest_hungry = std::max(account->longest_hungry, c.busy - account->hungry);
    account->waiting += static_cast<uint64_t>(waiting);
    account->running += static_cast<uint64_t>(running);
    if (!was_hungry) account->hungry = c.busy;
    if (account->waiting + account->running == 0) account->drained = c.busy;
  }
}

void Simulator::admit() {
  const auto fits = [this](uint64_t, const std::vector<uint64_t>& gone) {
    return scheduler_.running() - gone.size() < settings_.places;
  };
  while (const auto admission = scheduler_.admit(micros(), fits)) {
    Sequence& sequence = sequences_.at(admission->id);
    for (const uint64_t id : admission->evicted) evict(id, sequence.request.priority);
    scheduler_.start(admission->id);
    sequence.running = true;
    update(sequence);
    count(sequence.request, -1, 1);
    Times& times = times_.at(admission->id);
    if (times.started < 0) times.started = now_;
  }
}

void Simulator::evict(uint64_t id, size_t whose) {
  Sequence& sequence = sequences_.at(id);
  drop_from_step(sequence);
  sequence.pending = sequence.request.prompt + sequence.generated;
  sequence.running = false;
  scheduler_.evict(id, whose);
  count(sequence.request, 1, -1);
  ++evictions_;
}

void Simulator::drop_from_step(const Sequence& sequence) {
  std::erase_if(classes_[sequence.request.priority].step.parts,
                [&](const engine::Share& part) { return part.id == sequence.request.id; });
}

void Simulator::update(const Sequence& sequence) {
  scheduler_.update(sequence.request.id, sequence.pending, false, micros());
}

void Simulator::forget(uint64_t id) {
  auto found = sequences_.find(id);
  const Sequence& sequence = found->second;
  drop_from_step(sequence);
  scheduler_.remove(id);
  count(sequence.request, sequence.running ? 0 : -1, sequence.running ? -1 : 0);
  sequences_.erase(found);
}

void Simulator::fill(size_t which) {
  Step& step = classes_[which].step;
  const engine::StepSize size =
      scheduler_.step_size(which, settings_.chunk + settings_.places, costs_, micros());
  step.parts = scheduler_.plan(which, size, settings_.chunk);
  step.rows = step.cut = 0;
  step.took = 0;
  for (const engine::Share& part : step.parts) step.rows += part.rows;
}

double Simulator::slice(size_t which) {
  Class& c = classes_[which];
  Step& step = c.step;
  const uint32_t end = costs_.slice_end(step.rows, step.cut, settings_.cost.cuts);
  const double took = settings_.cost.of(step.rows, step.cut, end);
  costs_.slice(step.rows, step.cut, end, static_cast<Micros>(took));
  if (end - step.cut > 1) longest_of_many_ = std::max(longest_of_many_, took);
  step.cut = end;
  step.took += took;
  c.longest_gap = std::max(c.longest_gap, now_ - c.idle_until);
  longest_slice_ = std::max(longest_slice_, took);
  now_ += took;
  c.idle_until = now_;
  c.busy += took;
  if (step.cut == settings_.cost.cuts) costs_.run(step.rows, static_cast<Micros>(step.took), micros());
  uint32_t live = 0;
  for (const engine::Share& part : step.parts) live += part.rows;
  for (const engine::Share& part : step.parts) {
    Sequence& sequence = sequences_.at(part.id);
    const engine::Owner& owner = sequence.request.owner;
    const double micros = took * part.rows / live;
    scheduler_.charge(which, owner, micros);
    c.users[owner.user].work += micros;
    c.apps[{owner.user, owner.app}].work += micros;
    sequence.work += micros;
  }
  return took;
}

void Simulator::commit(size_t which) {
  Class& c = classes_[which];
  const std::vector<engine::Share> parts = std::move(c.step.parts);
  c.step = {};
  for (const engine::Share& part : parts) {
    Sequence& sequence = sequences_.at(part.id);
    sequence.pending -= part.rows;
    if (sequence.pending > 0) {
      update(sequence);
      continue;
    }
    sequence.pending = 1;
    Times& times = times_.at(part.id);
    if (++sequence.generated == 1) {
      times.first_token = now_;
    } else {
      times.longest_interval = std::max(times.longest_interval, now_ - times.last_token);
    }
    times.last_token = now_;
    if (sequence.generated < sequence.request.output) {
      update(sequence);
      continue;
    }
    times.finished = now_;
    c.longest_request = std::max(c.longest_request, sequence.work);
    const Request request = sequence.request;
    forget(part.id);
    on_finish(request);
  }
}

bool Simulator::step() {
  arrive();
  admit();
  std::array<bool, kClasses> ready{};
  for (size_t c = 0; c < kClasses; ++c) {
    ready[c] = this->ready(c);
    if (!ready[c] && classes_[c].waiting == 0) classes_[c].idle_until = now_;
  }
  const auto which = share_.next(ready);
  if (!which) {
    if (arrivals_.empty()) return false;
    now_ = arrivals_.top().arrival;
    return true;
  }
  Step& step = classes_[*which].step;
  if (step.rows == 0) {
    for (size_t lower = *which + 1; lower < kClasses; ++lower) parked_ += classes_[lower].step.rows > 0;
    fill(*which);
  }
  share_.ran(*which, step.parts.empty() ? 0 : slice(*which), ready);
  if (step.parts.empty() || step.cut == settings_.cost.cuts) commit(*which);
  return true;
}

void Simulator::run_until(double time) {
  while (now_ < time && step()) {
  }
}

}  // namespace facet::sim
