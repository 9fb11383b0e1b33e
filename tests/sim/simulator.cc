#include "tests/sim/simulator.h"

#include <algorithm>

namespace facet::sim {

Simulator::Simulator(Settings settings) : settings_(settings), share_(settings.minimum, settings.quantum) {}

void Simulator::submit(Request request) {
  times_.insert_or_assign(request.id, Times{request.arrival});
  arrivals_.push(std::move(request));
}

void Simulator::cancel(uint64_t id) {
  for (Class& c : classes_) {
    for (Sequence& sequence : c.running) {
      if (sequence.request.id == id) sequence.cancelled = true;
    }
    if (!c.queue.remove(id)) continue;
    auto node = c.waiting.extract(id);
    count(c, node.mapped().request.owner, -1, 0);
  }
}

void Simulator::arrive() {
  while (!arrivals_.empty() && arrivals_.top().arrival <= now_) {
    const Request& request = arrivals_.top();
    Class& c = classes_[request.priority];
    c.queue.push(request.id, request.owner);
    count(c, request.owner, 1, 0);
    c.waiting.emplace(request.id, Sequence{request, request.prompt});
    arrivals_.pop();
  }
}

void Simulator::count(Class& c, const engine::Owner& owner, int waiting, int running) {
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

void Simulator::admit(Class& c) {
  while (auto id = c.queue.front()) {
    if (c.running.size() >= settings_.slots && !evict(c)) return;
    start(c, *id);
  }
}

void Simulator::start(Class& c, uint64_t id) {
  Sequence sequence = std::move(c.waiting.extract(id).mapped());
  c.queue.started(sequence.request.owner);
  c.queue.remove(id);
  count(c, sequence.request.owner, -1, 1);
  Times& times = times_.at(id);
  if (times.started < 0) times.started = now_;
  c.running.push_back(std::move(sequence));
}

bool Simulator::evict(Class& c) {
  if (c.step_left > 0) return false;
  const engine::Owner& next = c.waiting.at(*c.queue.front()).request.owner;
  auto last = std::max_element(c.running.begin(), c.running.end(), [&](const Sequence& a, const Sequence& b) {
    return c.queue.before(a.request.owner, b.request.owner);
  });
  if (c.queue.lead(last->request.owner, next) <= settings_.take_over) return false;
  Sequence sequence = std::move(*last);
  c.running.erase(last);
  sequence.pending = sequence.request.prompt + sequence.generated;
  c.queue.push_front(sequence.request.id, sequence.request.owner);
  c.queue.stopped(sequence.request.owner);
  count(c, sequence.request.owner, 1, -1);
  c.waiting.emplace(sequence.request.id, std::move(sequence));
  ++evictions_;
  return true;
}

void Simulator::plan(Class& c) {
  std::vector<Sequence*> prompts;
  uint32_t left = settings_.rows;
  for (Sequence& sequence : c.running) {
    sequence.rows = sequence.pending == 1 ? std::min(left, 1U) : 0;
    left -= sequence.rows;
    if (sequence.pending > 1) prompts.push_back(&sequence);
  }
  std::stable_sort(prompts.begin(), prompts.end(), [&](const Sequence* a, const Sequence* b) {
    return c.queue.before(a->request.owner, b->request.owner);
  });
  for (Sequence* sequence : prompts) {
    sequence->rows = std::min({sequence->pending, left, settings_.chunk});
    left -= sequence->rows;
  }
  c.step_rows = settings_.rows - left;
  c.step_left = settings_.cost.step + settings_.cost.row * c.step_rows;
}

void Simulator::commit(Class& c) {
  std::vector<Request> finished;
  for (Sequence& sequence : c.running) {
    sequence.pending -= sequence.rows;
    if (sequence.rows == 0 || sequence.pending > 0) continue;
    sequence.pending = 1;
    Times& times = times_.at(sequence.request.id);
    if (++sequence.generated == 1) times.first_token = now_;
    if (sequence.generated >= sequence.request.output) times.finished = now_;
  }
  std::erase_if(c.running, [&](const Sequence& sequence) {
    if (!sequence.cancelled && sequence.generated < sequence.request.output) return false;
    c.queue.stopped(sequence.request.owner);
    count(c, sequence.request.owner, 0, -1);
    c.longest_request = std::max(c.longest_request, sequence.work);
    finished.push_back(sequence.request);
    return true;
  });
  for (const Request& request : finished) on_finish(request);
}

bool Simulator::step() {
  arrive();
  std::array<bool, kClasses> ready{};
  for (size_t i = 0; i < kClasses; ++i) {
    admit(classes_[i]);
    ready[i] = !classes_[i].running.empty();
    if (!ready[i]) classes_[i].idle_until = now_;
  }
  const auto which = share_.next(ready);
  if (!which) {
    if (arrivals_.empty()) return false;
    now_ = arrivals_.top().arrival;
    return true;
  }
  Class& c = classes_[*which];
  if (c.step_left <= 0) plan(c);
  const double slice = std::min(c.step_left, settings_.cost.slice);
  c.longest_gap = std::max(c.longest_gap, now_ - c.idle_until);
  now_ += slice;
  c.idle_until = now_;
  c.busy += slice;
  c.step_left -= slice;
  share_.ran(*which, slice, ready);
  for (Sequence& sequence : c.running) {
    if (sequence.rows == 0) continue;
    const double micros = slice * sequence.rows / c.step_rows;
    const engine::Owner& owner = sequence.request.owner;
    c.queue.charge(owner, micros);
    c.users[owner.user].work += micros;
    c.apps[{owner.user, owner.app}].work += micros;
    sequence.work += micros;
  }
  if (c.step_left <= 0) commit(c);
  return true;
}

void Simulator::run_until(double time) {
  while (now_ < time && step()) {
  }
}

uint64_t Simulator::comparisons() const {
  uint64_t all = 0;
  for (const Class& c : classes_) all += c.queue.comparisons();
  return all;
}

size_t Simulator::accounts() const {
  size_t all = 0;
  for (const Class& c : classes_) all += c.queue.accounts();
  return all;
}

}  // namespace facet::sim
