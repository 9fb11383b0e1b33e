// The engine and the CPU priority of its device: background work stands back, and is raised when something
// more urgent comes.
#include <doctest/doctest.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/mailbox.h"
#include "daemon/engine/engine.h"
#include "tests/engine/bench.h"
#include "tests/test_models.h"

using namespace facet;

namespace {

constexpr uint64_t kBackground = 1, kUrgent = 2;
constexpr uint32_t kSteps = 5;

// The highest nice value of this process's threads.
int highest_nice() {
  int highest = -20;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    const auto id = static_cast<id_t>(std::stoi(thread.path().filename()));
    highest = std::max(highest, getpriority(PRIO_PROCESS, id));
  }
  return highest;
}

bool may_come_back() {
  bool may = false;
  std::thread([&] {
    const int usual = getpriority(PRIO_PROCESS, 0);
    may = setpriority(PRIO_PROCESS, 0, usual + 1) == 0 && setpriority(PRIO_PROCESS, 0, usual) == 0;
  }).join();
  return may;
}

link::Start start(uint64_t id, protocol::Priority priority, uint32_t count) {
  protocol::Generate request = test::greedy(test::tokens(20, 1), count);
  request.id = id;
  request.model = "tiny";
  request.priority = priority;
  return {test::tiny_model_path("gemma3"), std::move(request), 0, 0, "app", 1, 0};
}

// An engine that is held at the first and at the second token of its background request.
class Held {
 public:
  Held() {
    engine::EngineOptions options;
    options.backend = "onednn";
    options.threads = 2;
    options.background_nice = kSteps;
    auto made = engine::Engine::create(options, [this](const link::FromEngine& event) { take(event); });
    REQUIRE_MESSAGE(made.ok(), made.error().message);
    engine_ = std::move(*made);
    thread_ = std::thread([this] { engine_->run(); });
  }
  ~Held() {
    engine_->stop();
    thread_.join();
  }
  engine::Engine& engine() { return *engine_; }
  void wait_for_token() { reached_.acquire(); }
  void go_on() { go_.release(); }
  // Nice values at each token of each request, once all have ended.
  std::map<uint64_t, std::vector<int>> nices(size_t requests) {
    for (size_t n = 0; n < requests; ++n) ended_.acquire();
    return nices_;
  }

 private:
  // On the engine's thread.
  void take(const link::FromEngine& event) {
    if (auto* token = std::get_if<protocol::Token>(&event)) {
      nices_[token->id].push_back(highest_nice());
      if (token->id != kBackground || token->sequence > 1) return;
      reached_.release();
      go_.acquire();
    } else if (std::holds_alternative<protocol::Finish>(event)) {
      ended_.release();
    }
  }

  std::map<uint64_t, std::vector<int>> nices_;
  std::counting_semaphore<> reached_{0}, go_{0}, ended_{0};
  std::unique_ptr<engine::Engine> engine_;
  std::thread thread_;
};

}  // namespace

TEST_CASE("background work stands back while it is alone, and is raised at once when something else comes") {
  const int usual = getpriority(PRIO_PROCESS, 0);
  const int back = may_come_back() ? std::min(usual + int{kSteps}, 19) : usual;
  Held held;
  held.engine().post(start(kBackground, protocol::Priority::kBackground, 40));
  held.wait_for_token();
  held.go_on();
  held.wait_for_token();
  CHECK(highest_nice() == back);
  held.engine().post(start(kUrgent, protocol::Priority::kInteractive, 10));
  CHECK(highest_nice() == usual);
  held.go_on();

  auto nices = held.nices(2);
  REQUIRE(nices[kBackground].size() == 40);
  CHECK(nices[kBackground].back() == back);
  CHECK(nices[kUrgent] == std::vector<int>(10, usual));
}
