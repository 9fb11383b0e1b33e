#include "daemon/broker/positions.h"

#include <algorithm>

namespace facet::broker {

void Positions::ask(Session& session, protocol::RequestId id) {
  const bool waits = std::any_of(waiting_.begin(), waiting_.end(),
                                 [&](const Waiting& other) { return other.session == &session; });
  if (waits || !engine_.ready() || wanted_by(session).empty()) return answer_(session, id);
  waiting_.push_back({&session, id, now_micros()});
  if (waiting_.size() == 1) set_timer();
  if (asked_.empty()) ask_next();
}

std::vector<EngineId> Positions::wanted_by(const Session& session) const {
  std::vector<EngineId> ids = requests_.seen_by(session.peer());
  std::erase_if(ids, [&](EngineId id) { return requests_.find(id)->held.has_value(); });
  return ids;
}

void Positions::ask_next() {
  while (!waiting_.empty() && engine_.ready()) {
    const Session& session = *waiting_.front().session;
    asked_for_ = session.peer();
    asked_ = wanted_by(session);
    if (!asked_.empty() && engine_.send(link::GetPositions{asked_})) return;
    asked_.clear();
    answer_those([&](const Waiting& one) { return one.session->peer() == asked_for_; });
  }
}

void Positions::said(const link::Positions& told) {
  if (asked_.empty()) return engine_.reject("it tells positions that nobody asked for");
  for (const link::Position& one : told.requests) {
    if (std::find(asked_.begin(), asked_.end(), one.id) == asked_.end()) {
      return engine_.reject("it tells the position of request " + std::to_string(one.id) +
                            ", which nobody asked for");
    }
  }
  for (const EngineId id : asked_) {
    if (Request* request = requests_.find(id)) request->status.position = request->status.wait_ms = 0;
  }
  for (const link::Position& one : told.requests) {
    Request* request = requests_.find(one.id);
    if (!request) continue;
    request->status.running = false;
    request->status.position = one.position;
    request->status.wait_ms = one.wait_ms;
  }
  asked_.clear();
  answer_those([&](const Waiting& one) { return one.session->peer() == asked_for_; });
  ask_next();
}

// Takes them out first: a session may end while it is answered.
template <typename Which>
void Positions::answer_those(Which which) {
  const auto stay = std::stable_partition(waiting_.begin(), waiting_.end(),
                                          [&](const Waiting& one) { return !which(one); });
  const std::vector<Waiting> ready(stay, waiting_.end());
  waiting_.erase(stay, waiting_.end());
  for (const Waiting& one : ready) answer_(*one.session, one.id);
}

void Positions::session_ended(const Session& session) {
  std::erase_if(waiting_, [&](const Waiting& one) { return one.session == &session; });
}

void Positions::engine_lost() {
  asked_.clear();
  answer_those([](const Waiting&) { return true; });
}

void Positions::set_timer() {
  const Micros left = waiting_.front().since + kPatience - now_micros();
  timer_.expires_after(std::chrono::microseconds(std::max<Micros>(left, 0)));
  timer_.async_wait([this](const asio::error_code& failed) {
    if (failed) return;
    const Micros now = now_micros();
    answer_those([&](const Waiting& one) { return one.since + kPatience <= now; });
    if (!waiting_.empty()) set_timer();
  });
}

}  // namespace facet::broker
