// An engine on a thread of its own, with the reference backend unless a test says another, and what it says
// about each request.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/mailbox.h"
#include "daemon/engine/engine.h"
#include "tests/test_models.h"

namespace facet::test {

// What the engine said about one request.
struct Answer {
  std::vector<uint32_t> ids;
  std::string text;  // of the tokens and the finish
  std::vector<protocol::Token> tokens;
  std::optional<protocol::Finish> finish;
  std::optional<protocol::Failed> failed;
  bool ended() const { return finish || failed; }
};

// An engine on a thread of its own.
class Bench {
 public:
  // `runs`: false, and nothing is taken from what is posted before go(): it comes at once.
  explicit Bench(engine::EngineOptions options, bool runs = true, facet_type cache = FACET_TYPE_F32) {
    if (options.backend.empty()) options.backend = "reference";
    options.cache_type = cache;
    auto made = engine::Engine::create(options, [this](link::FromEngine event) {
      if (on_event) on_event(event);
      events_.post(std::move(event));
    });
    REQUIRE_MESSAGE(made.ok(), made.error().message);
    engine_ = std::move(*made);
    if (runs) go();
  }
  // Called on the engine's thread, before go() set; may hold it up.
  std::function<void(const link::FromEngine&)> on_event;

  void go() {
    thread_ = std::thread([this] { engine_->run(); });
  }
  // Until run() has returned.
  void stop() {
    engine_->stop();
    if (thread_.joinable()) thread_.join();
  }
  ~Bench() { stop(); }

  uint64_t start(protocol::Generate request, const std::string& path = tiny_model_path("gemma3"),
                 uint64_t user = 0, Micros deadline = 0, uint64_t reader = 0) {
    request.id = ++last_id_;
    request.model = "tiny";
    if (reader == 0) reader = user;
    engine_->post(link::Start{path, std::move(request), user, reader, "app", 1, deadline});
    return last_id_;
  }
  void post(link::ToEngine message) { engine_->post(std::move(message)); }

  // Takes events until `done` says so.
  template <typename Done>
  void until(Done done) {
    while (!done()) {
      for (link::FromEngine& event : events_.wait()) take(event);
    }
  }
  // Takes the events that are there.
  void take_all() {
    for (link::FromEngine& event : events_.take()) take(event);
  }
  const Answer& answer(uint64_t id) {
    until([&] { return answers_[id].ended(); });
    return answers_[id];
  }
  Answer& so_far(uint64_t id) { return answers_[id]; }
  const link::Load& load() const { return load_; }
  std::vector<link::Position> positions(std::vector<uint64_t> ids) {
    post(link::GetPositions{std::move(ids)});
    positions_.reset();
    until([&] { return positions_.has_value(); });
    return *positions_;
  }
  const std::vector<protocol::ModelState>& states() const { return states_; }
  // In the order of their ends.
  const std::vector<uint64_t>& finished() const { return finished_; }
  // The request of each Started, Token, Finish and Failed, in their order.
  const std::vector<uint64_t>& heard() const { return heard_; }

 private:
  void take(const link::FromEngine& event) {
    if (auto* started = std::get_if<link::Started>(&event)) heard_.push_back(started->id);
    if (auto* token = std::get_if<protocol::Token>(&event)) heard_.push_back(token->id);
    if (auto* finish = std::get_if<protocol::Finish>(&event)) heard_.push_back(finish->id);
    if (auto* failed = std::get_if<protocol::Failed>(&event)) heard_.push_back(failed->id);
    if (auto* token = std::get_if<protocol::Token>(&event)) {
      Answer& answer = answers_[token->id];
      REQUIRE_FALSE(answer.ended());
      REQUIRE(token->sequence == answer.ids.size());
      answer.ids.push_back(token->token);
      answer.text += token->text;
      answer.tokens.push_back(*token);
    } else if (auto* finish = std::get_if<protocol::Finish>(&event)) {
      REQUIRE_FALSE(answers_[finish->id].ended());
      answers_[finish->id].finish = *finish;
      answers_[finish->id].text += finish->text;
      finished_.push_back(finish->id);
    } else if (auto* failed = std::get_if<protocol::Failed>(&event)) {
      REQUIRE_FALSE(answers_[failed->id].ended());
      answers_[failed->id].failed = *failed;
    } else if (auto* load = std::get_if<link::Load>(&event)) {
      load_ = *load;
    } else if (auto* positions = std::get_if<link::Positions>(&event)) {
      positions_ = positions->requests;
    } else if (auto* changed = std::get_if<link::ModelChanged>(&event)) {
      states_.push_back(changed->model.state);
    }
  }

  Mailbox<link::FromEngine> events_;
  std::unique_ptr<engine::Engine> engine_;
  std::thread thread_;
  uint64_t last_id_ = 0;
  std::map<uint64_t, Answer> answers_;
  link::Load load_;
  std::optional<std::vector<link::Position>> positions_;
  std::vector<protocol::ModelState> states_;
  std::vector<uint64_t> finished_, heard_;
};

// So many tokens that depend on the seed.
inline protocol::TokenIds tokens(uint32_t count, uint32_t seed) {
  std::mt19937 random(seed);
  protocol::TokenIds ids{2};
  while (ids.size() < count) ids.push_back(500 + random() % 500);
  return ids;
}

inline protocol::Generate greedy(protocol::TokenIds ids, uint32_t max_tokens) {
  protocol::Generate request;
  request.prompt = std::move(ids);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_end = true;
  return request;
}

}  // namespace facet::test
