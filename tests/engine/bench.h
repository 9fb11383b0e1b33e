// An engine with the reference backend on a thread of its own, and what it says about each request.
#pragma once

#include <doctest/doctest.h>

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
    options.backend = "reference";
    options.cache_type = cache;
    auto made =
        engine::Engine::create(options, [this](link::FromEngine event) { events_.post(std::move(event)); });
    REQUIRE_MESSAGE(made.ok(), made.error().message);
    engine_ = std::move(*made);
    if (runs) go();
  }
  void go() {
    thread_ = std::thread([this] { engine_->run(); });
  }
  ~Bench() {
    engine_->stop();
    if (thread_.joinable()) thread_.join();
  }

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

 private:
  void take(const link::FromEngine& event) {
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
