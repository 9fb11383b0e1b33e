#include "daemon/engine/engine.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mailbox.h"
#include "daemon/engine/chat_prompt.h"
#include "daemon/engine/class_share.h"
#include "daemon/engine/served_model.h"
#include "plugins/host/backend.h"
#include "plugins/host/discovery.h"

namespace facet::engine {
namespace {

constexpr Micros kLoadReportMicros = 100'000;
constexpr Micros kPositionsMicros = 50'000;
// While some wait for places that others hold without using them (Scheduler::kStalledMicros).
constexpr Micros kLookAgainMicros = 250'000;
// The longest that an engine sleeps which has a deadline to keep.
constexpr Micros kLongestSleep = 60'000'000;

}  // namespace

class Engine::Impl {
 public:
  Impl(EngineOptions options, Sink sink, plugins::Device device)
      : options_(std::move(options)), sink_(std::move(sink)), device_(std::move(device)) {
    hello_.engine = "facet-engine " FACET_VERSION;
    hello_.backend = device_.backend_name();
    hello_.numerics = device_.numerics();
  }

  void run();
  void post(link::ToEngine message);
  void stop() {
    stopping_ = true;
    mailbox_.post(link::Credit{});  // wakes the engine; request 0 does not exist
  }
  const link::EngineHello& hello() const { return hello_; }

 private:
  // For messages or the next deadline, while nobody has anything to do.
  std::deque<link::ToEngine> wait();
  void handle(std::deque<link::ToEngine> messages);
  bool slice();
  // The device's, for work of that class.
  void set_nice(size_t which);
  void start(const link::Start& start);
  void register_prompt(link::RegisterPrompt prompt);
  // The model of that file, loaded if need be.
  Result<ServedModel*> model(const link::Start& start);
  void tell_model(const std::string& name, const std::string& path, protocol::ModelState state,
                  const std::string& error);
  void report_load(bool idle);
  // Answers what the broker asked; while it works, so seldom that it costs next to nothing.
  void tell_positions(bool idle);

  EngineOptions options_;
  Sink sink_;
  plugins::Device device_;
  link::EngineHello hello_;
  Mailbox<link::ToEngine> mailbox_;
  std::atomic<bool> stopping_{false};

  std::map<std::string, std::unique_ptr<ServedModel>> models_;        // by path
  std::map<std::string, std::vector<link::RegisterPrompt>> prompts_;  // by path, of models to be loaded
  ClassShare share_;
  std::string last_model_;  // whose slice was the last
  link::Load reported_;
  Micros reported_at_ = 0;
  std::optional<link::GetPositions> asked_;
  Micros told_at_ = 0;
};

void Engine::Impl::run() {
  bool idle = true;
  while (!stopping_) {
    handle(idle ? wait() : mailbox_.take());
    for (auto& [path, model] : models_) model->expire(now_micros());
    idle = !slice();
    report_load(idle);
    tell_positions(idle);
  }
}

// Whatever comes may be urgent: the slice in work is raised, and the next one is as it must be.
void Engine::Impl::post(link::ToEngine message) {
  mailbox_.post(std::move(message));
  device_.set_nice(0);
}

std::deque<link::ToEngine> Engine::Impl::wait() {
  std::optional<Micros> most;
  if (reported_.waiting != 0) most = kLookAgainMicros;
  for (auto& [path, model] : models_) {
    const auto deadline = model->next_deadline();
    if (!deadline) continue;
    const Micros left = std::clamp<Micros>(*deadline - now_micros(), 0, kLongestSleep);
    most = std::min(most.value_or(left), left);
  }
  return most ? mailbox_.wait(std::chrono::microseconds(*most)) : mailbox_.wait();
}

// One slice of the class whose turn it is. False if nobody has anything to do.
bool Engine::Impl::slice() {
  std::array<bool, ClassShare::kClasses> ready{};
  for (auto& [path, model] : models_) {
    model->admit();
    for (size_t which = 0; which < ready.size(); ++which) ready[which] |= model->ready(which);
  }
  const auto which = share_.next(ready);
  if (!which) return false;
  // Models take turns.
  auto model = models_.upper_bound(last_model_);
  for (;; ++model) {
    if (model == models_.end()) model = models_.begin();
    if (model->second->ready(*which)) break;
  }
  last_model_ = model->first;
  set_nice(*which);
  share_.ran(*which, static_cast<double>(model->second->slice(*which)), ready);
  return true;
}

void Engine::Impl::set_nice(size_t which) {
  const size_t least = ClassShare::kClasses - 1;
  const auto has_urgent = [&](const auto& entry) {
    for (size_t other = 0; other < least; ++other) {
      if (entry.second->has_work(other)) return true;
    }
    return false;
  };
  const bool alone = which == least && std::none_of(models_.begin(), models_.end(), has_urgent);
  device_.set_nice(alone ? options_.background_nice : 0);
  // A message is seen here, or whoever posts it raises the device after this.
  if (alone && !mailbox_.empty()) device_.set_nice(0);
}

void Engine::Impl::handle(std::deque<link::ToEngine> messages) {
  for (link::ToEngine& message : messages) {
    if (auto* request = std::get_if<link::Start>(&message)) {
      start(*request);
    } else if (auto* prompt = std::get_if<link::RegisterPrompt>(&message)) {
      register_prompt(std::move(*prompt));
    } else if (auto* cancel = std::get_if<link::Cancel>(&message)) {
      for (auto& [path, model] : models_) model->cancel(cancel->id);
    } else if (auto* credit = std::get_if<link::Credit>(&message)) {
      for (auto& [path, model] : models_) model->grant(credit->id, credit->tokens);
    } else if (auto* ask = std::get_if<link::GetPositions>(&message)) {
      asked_ = std::move(*ask);
    }
  }
}

void Engine::Impl::start(const link::Start& start) {
  auto served = model(start);
  Result<void> added = served.ok() ? (*served)->add(start) : Result<void>(served.error());
  if (added.ok()) return;
  const Error& why = added.error();
  sink_(protocol::Failed{start.request.id, why.code, why.message, why.retry_after_ms});
}

void Engine::Impl::register_prompt(link::RegisterPrompt prompt) {
  if (models_.contains(prompt.path)) {
    log::warning("prompt " + prompt.name + ": comes after model " + prompt.model + " was loaded");
    return;
  }
  prompts_[prompt.path].push_back(std::move(prompt));
}

Result<ServedModel*> Engine::Impl::model(const link::Start& start) {
  auto found = models_.find(start.path);
  if (found != models_.end()) return found->second.get();

  const std::string& name = start.request.model;
  tell_model(name, start.path, protocol::ModelState::kLoading, "");
  const Micros began = now_micros();
  auto loaded = ServedModel::load(device_, start.path, prompts_[start.path], options_, sink_);
  if (!loaded.ok()) {
    log::warning("model " + name + ": " + loaded.error().message);
    tell_model(name, start.path, protocol::ModelState::kFailed, loaded.error().message);
    return std::move(loaded).error();
  }
  log::info("model " + name + ": loaded " + start.path + " in " +
            std::to_string((now_micros() - began) / 1000) + " ms");
  ServedModel* served = loaded->get();
  if (const auto warning = chat_warning_of(served->model()); !warning.empty()) {
    log::warning("model " + name + ": " + std::string(warning));
  }
  models_.emplace(start.path, std::move(*loaded));
  prompts_.erase(start.path);
  tell_model(name, start.path, protocol::ModelState::kLoaded, "");
  return served;
}

void Engine::Impl::tell_model(const std::string& name, const std::string& path, protocol::ModelState state,
                              const std::string& error) {
  protocol::Model model;
  model.name = name;
  model.state = state;
  model.error = error;
  auto found = models_.find(path);
  if (found != models_.end()) {
    const model::Model& loaded = found->second->model();
    model.file_bytes = loaded.file().file_bytes();
    model.family = loaded.config().family;
    model.context = found->second->context();
    model.vocabulary = loaded.config().vocabulary;
    model.backend = hello_.backend;
    model.numerics = hello_.numerics;
  }
  sink_(link::ModelChanged{std::move(model)});
}

void Engine::Impl::report_load(bool idle) {
  link::Load load;
  for (auto& [path, model] : models_) {
    const link::Load its = model->load();
    load.running += its.running;
    load.waiting += its.waiting;
    load.cache_pages += its.cache_pages;
    load.cache_pages_free += its.cache_pages_free;
    load.parked += its.parked;
    load.evicted += its.evicted;
    load.cached_tokens += its.cached_tokens;
    load.computed_tokens += its.computed_tokens;
    load.registered_prompts += its.registered_prompts;
    load.registered_tokens += its.registered_tokens;
  }
  const Micros now = now_micros();
  if (load == reported_ || (!idle && now - reported_at_ < kLoadReportMicros)) return;
  reported_ = load;
  reported_at_ = now;
  sink_(load);
}

void Engine::Impl::tell_positions(bool idle) {
  if (!asked_) return;
  const Micros now = now_micros();
  if (!idle && now - told_at_ < kPositionsMicros) return;
  link::Positions told;
  for (const uint64_t id : asked_->ids) {
    for (auto& [path, model] : models_) {
      if (const auto position = model->position(id)) told.requests.push_back(*position);
    }
  }
  asked_.reset();
  told_at_ = now;
  sink_(std::move(told));
}

Result<std::unique_ptr<Engine>> Engine::create(const EngineOptions& options, Sink sink) {
  FACET_TRY(plugins::Device device, plugins::open_device(options.backend, options.threads));
  return std::unique_ptr<Engine>(
      new Engine(std::make_unique<Impl>(options, std::move(sink), std::move(device))));
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;
void Engine::run() {
  impl_->run();
}
void Engine::post(link::ToEngine message) {
  impl_->post(std::move(message));
}
void Engine::stop() {
  impl_->stop();
}
const link::EngineHello& Engine::hello() const {
  return impl_->hello();
}

}  // namespace facet::engine
