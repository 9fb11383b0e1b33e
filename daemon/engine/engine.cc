#include "daemon/engine/engine.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <list>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/log.h"
#include "daemon/base/mailbox.h"
#include "daemon/engine/arrivals.h"
#include "daemon/engine/chat_prompt.h"
#include "daemon/engine/class_share.h"
#include "daemon/engine/model_loader.h"
#include "daemon/engine/served_model.h"
#include "plugins/host/backend.h"
#include "plugins/host/discovery.h"

namespace facet::engine {
namespace {

constexpr Micros kLoadReportMicros = 100'000;
constexpr Micros kPositionsMicros = 50'000;
constexpr Micros kPositionsPieceMicros = 1000;
// While some wait, for places that others hold without using them say (Scheduler::kStalledMicros).
constexpr Micros kLookAgainMicros = 250'000;
// The longest that an engine sleeps which has a deadline to keep.
constexpr Micros kLongestSleep = 60'000'000;

}  // namespace

class Engine::Impl {
 public:
  Impl(EngineOptions options, Sink sink, plugins::Device device)
      : options_(std::move(options)),
        sink_(std::move(sink)),
        device_(std::move(device)),
        loader_(device_, options_, sink_,
                [this](ModelLoader::Loaded loaded) { mailbox_.post(std::move(loaded)); }) {
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
  using Message = std::variant<link::ToEngine, ModelLoader::Loaded>;

  // For messages or the next deadline, while nobody has anything to do.
  std::deque<Message> wait();
  void handle(std::deque<Message> messages);
  void handle(link::ToEngine message);
  void handle(ModelLoader::Loaded loaded);
  void expire(Micros now);
  // Has the model loaded next whose requests are the most urgent, if none is being loaded.
  void load_next();
  using PerClass = std::array<bool, ClassShare::kClasses>;
  // Classes of which some model can run a slice.
  PerClass ready() const;
  // And those of which something came for a loaded model.
  PerClass with_arrivals(PerClass ready) const;
  // Gives loaded models what came for them, for as long as a slice lasts: their prompts become tokens then.
  // True if it ended for the time.
  bool hand_over();
  // The class of what is handed over next, where slices of those classes can run: that whose turn it is, or
  // one that can pay for it out of its share; none that had more time for this than its slices had since.
  std::optional<size_t> next_arrival(const PerClass& slices) const;
  // Whether something of that class came for a model that is loaded.
  bool arrived(size_t which) const;
  void hand_over(size_t which, const PerClass& slices);
  bool slice();
  // The device's, for work of that class.
  void set_nice(size_t which);
  void start(link::Start start);
  void refuse(uint64_t id, const Error& why);
  void register_prompt(link::RegisterPrompt prompt);
  void tell_model(const std::string& name, const std::string& path, protocol::ModelState state,
                  const std::string& error);
  void report_load(bool idle);
  // Works out what the broker asked, for a millisecond or one request at a time, and answers; while it works,
  // so seldom that it costs next to nothing. False if it is to go on with that.
  bool tell_positions(bool idle);
  std::optional<link::Position> position(uint64_t id) const;
  // Whether that request waits, for a place or to be taken over.
  bool waits(uint64_t id) const;

  EngineOptions options_;
  Sink sink_;
  plugins::Device device_;
  link::EngineHello hello_;
  Mailbox<Message> mailbox_;
  std::atomic<bool> stopping_{false};

  std::map<std::string, std::unique_ptr<ServedModel>> models_;  // by path
  // Of models to be loaded, in the order of the first one's arrival, and of all that are loaded.
  std::list<Arrivals> arrivals_;
  std::array<Micros, ClassShare::kClasses> handed_{};  // time for handing over, less that of slices since
  Arrivals* loading_ = nullptr;  // whose model is being loaded, also if nobody waits for it any more
  Micros loading_since_ = 0;
  std::map<std::string, std::vector<link::RegisterPrompt>> prompts_;  // by path, of models to be loaded
  ClassShare share_;
  std::string last_model_;  // whose slice was the last
  link::Load reported_;
  Micros reported_at_ = 0;
  std::optional<link::GetPositions> asked_;
  size_t worked_out_ = 0;  // of those, the first ones
  link::Positions positions_;
  Micros told_at_ = 0;
  ModelLoader loader_;  // last: its thread uses the device and the mailbox
};

void Engine::Impl::run() {
  bool idle = true;
  while (!stopping_) {
    handle(idle ? wait() : mailbox_.take());
    expire(now_micros());
    load_next();
    const bool more = hand_over();
    idle = !slice() && !more;
    report_load(idle);
    idle = tell_positions(idle) && idle;
  }
}

// Whatever comes may be urgent: the slice in work is raised, and the next one is as it must be.
void Engine::Impl::post(link::ToEngine message) {
  mailbox_.post(std::move(message));
  device_.set_nice(0);
}

std::deque<Engine::Impl::Message> Engine::Impl::wait() {
  std::optional<Micros> most;
  if (reported_.waiting != 0) most = kLookAgainMicros;
  const auto until = [&](std::optional<Micros> deadline) {
    if (!deadline) return;
    const Micros left = std::clamp<Micros>(*deadline - now_micros(), 0, kLongestSleep);
    most = std::min(most.value_or(left), left);
  };
  for (auto& [path, model] : models_) until(model->next_deadline());
  for (const Arrivals& model : arrivals_) until(model.next_deadline());
  return most ? mailbox_.wait(std::chrono::microseconds(*most)) : mailbox_.wait();
}

Engine::Impl::PerClass Engine::Impl::ready() const {
  PerClass ready{};
  for (auto& [path, model] : models_) {
    for (size_t which = 0; which < ready.size(); ++which) ready[which] |= model->ready(which);
  }
  return ready;
}

Engine::Impl::PerClass Engine::Impl::with_arrivals(PerClass ready) const {
  for (size_t which = 0; which < ready.size(); ++which) ready[which] |= arrived(which);
  return ready;
}

// One slice of the class whose turn it is. False if nobody has anything to do.
bool Engine::Impl::slice() {
  for (auto& [path, model] : models_) model->admit();
  const PerClass ready = this->ready();
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
  const Micros took = model->second->slice(*which);
  share_.ran(*which, static_cast<double>(took), with_arrivals(ready));
  handed_[*which] = std::max<Micros>(handed_[*which] - took, 0);
  return true;
}

void Engine::Impl::set_nice(size_t which) {
  const size_t least = ClassShare::kClasses - 1;
  bool alone = which == least;
  for (size_t other = 0; other < least; ++other) {
    const auto has_work = [&](const auto& entry) { return entry.second->has_work(other); };
    alone = alone && !arrived(other) && std::none_of(models_.begin(), models_.end(), has_work);
  }
  device_.set_nice(alone ? options_.background_nice : 0);
  // A message is seen here, or whoever posts it raises the device after this.
  if (alone && !mailbox_.empty()) device_.set_nice(0);
}

void Engine::Impl::expire(Micros now) {
  for (auto& [path, model] : models_) model->expire(now);
  for (Arrivals& model : arrivals_) model.expire(now);
}

void Engine::Impl::handle(std::deque<Message> messages) {
  for (Message& message : messages) {
    std::visit([this](auto&& one) { handle(std::move(one)); }, std::move(message));
  }
}

void Engine::Impl::handle(link::ToEngine message) {
  if (auto* request = std::get_if<link::Start>(&message)) {
    start(std::move(*request));
  } else if (auto* prompt = std::get_if<link::RegisterPrompt>(&message)) {
    register_prompt(std::move(*prompt));
  } else if (auto* cancel = std::get_if<link::Cancel>(&message)) {
    for (auto& [path, model] : models_) model->cancel(cancel->id);
    for (Arrivals& model : arrivals_) model.cancel(cancel->id, now_micros());
  } else if (auto* credit = std::get_if<link::Credit>(&message)) {
    for (auto& [path, model] : models_) model->grant(credit->id, credit->tokens);
    for (Arrivals& model : arrivals_) model.grant(credit->id, credit->tokens);
  } else if (auto* ask = std::get_if<link::GetPositions>(&message)) {
    asked_ = std::move(*ask);
    worked_out_ = 0;
    positions_.requests.clear();
  }
}

void Engine::Impl::start(link::Start start) {
  const uint64_t id = start.request.id;
  const auto which = static_cast<size_t>(start.request.priority);
  const auto served = models_.find(start.path);
  auto arrivals = std::find_if(arrivals_.begin(), arrivals_.end(),
                               [&](const Arrivals& model) { return model.path() == start.path; });
  if (arrivals == arrivals_.end()) {
    arrivals =
        arrivals_.emplace(arrivals_.end(), start.request.model, start.path, options_.max_waiting, sink_);
  }
  const Result<void> added = arrivals->add(std::move(start), now_micros());
  if (added.ok()) return;
  Error error = added.error();
  if (error.code == FACET_EXHAUSTED && served != models_.end()) {
    error.retry_after_ms = served->second->retry_after_ms(which);
  }
  refuse(id, error);
}

void Engine::Impl::refuse(uint64_t id, const Error& why) {
  sink_(protocol::Failed{id, why.code, why.message, why.retry_after_ms});
}

void Engine::Impl::register_prompt(link::RegisterPrompt prompt) {
  if (models_.contains(prompt.path) || (loading_ != nullptr && loading_->path() == prompt.path)) {
    log::warning("prompt " + prompt.name + ": comes after model " + prompt.model + " was loaded");
    return;
  }
  prompts_[prompt.path].push_back(std::move(prompt));
}

void Engine::Impl::load_next() {
  // Nobody waits for it any more.
  std::erase_if(arrivals_, [&](const Arrivals& model) {
    return model.empty() && &model != loading_ && !models_.contains(model.path());
  });
  if (loading_ != nullptr) return;
  for (Arrivals& model : arrivals_) {
    if (models_.contains(model.path())) continue;
    if (loading_ == nullptr || model.most_urgent() < loading_->most_urgent()) loading_ = &model;
  }
  if (loading_ == nullptr) return;
  loading_since_ = now_micros();
  tell_model(loading_->name(), loading_->path(), protocol::ModelState::kLoading, "");
  const auto prompts = prompts_.find(loading_->path());
  loader_.load(loading_->path(),
               prompts == prompts_.end() ? std::vector<link::RegisterPrompt>() : prompts->second);
}

void Engine::Impl::handle(ModelLoader::Loaded message) {
  auto loaded = message.get();
  Arrivals& arrivals = *std::exchange(loading_, nullptr);
  const std::string &name = arrivals.name(), &path = arrivals.path();
  if (!loaded.ok()) {
    log::warning("model " + name + ": " + loaded.error().message);
    tell_model(name, path, protocol::ModelState::kFailed, loaded.error().message);
    arrivals.fail(loaded.error());
    return;
  }
  log::info("model " + name + ": loaded " + path + " in " +
            std::to_string((now_micros() - loading_since_) / 1000) + " ms");
  if (const auto warning = chat_warning_of((*loaded)->model()); !warning.empty()) {
    log::warning("model " + name + ": " + std::string(warning));
  }
  models_.emplace(path, std::move(*loaded));
  prompts_.erase(path);
  tell_model(name, path, protocol::ModelState::kLoaded, "");
}

bool Engine::Impl::hand_over() {
  const Micros end = now_micros() + options_.slice_micros;
  const PerClass slices = ready();
  while (const auto which = next_arrival(slices)) {
    hand_over(*which, slices);
    if (now_micros() >= end) return true;
  }
  return false;
}

std::optional<size_t> Engine::Impl::next_arrival(const PerClass& slices) const {
  const auto may = [&](size_t which) {
    return arrived(which) && (!slices[which] || handed_[which] < options_.slice_micros);
  };
  const auto turn = share_.next(with_arrivals(slices));
  if (!turn) return std::nullopt;
  if (may(*turn)) return turn;
  // None more urgent, which would go before the class whose turn it is.
  for (size_t which = *turn + 1; which < slices.size(); ++which) {
    if (may(which) && share_.owed(which) > -static_cast<double>(options_.slice_micros)) return which;
  }
  return std::nullopt;
}

bool Engine::Impl::arrived(size_t which) const {
  return std::any_of(arrivals_.begin(), arrivals_.end(), [&](const Arrivals& arrivals) {
    return arrivals.waits(which) && models_.contains(arrivals.path());
  });
}

void Engine::Impl::hand_over(size_t which, const PerClass& slices) {
  auto arrivals = arrivals_.begin();
  while (!arrivals->waits(which) || !models_.contains(arrivals->path())) ++arrivals;
  ServedModel& model = *models_.at(arrivals->path());
  const PerClass ready = with_arrivals(slices);
  const Micros began = now_micros();
  const Arrivals::Request request = arrivals->take(which);
  const Result<void> added = model.add(request.start, request.arrived);
  if (!added.ok()) refuse(request.start.request.id, added.error());
  const Micros took = std::max<Micros>(now_micros() - began, 1);  // nothing is free
  const auto micros = static_cast<double>(took);
  arrivals->charge(which, request.owner(), micros);
  model.charge_taking(which, request.owner(), micros);
  share_.ran(which, micros, ready);
  handed_[which] = took + (slices[which] ? handed_[which] : 0);
  arrivals_.splice(arrivals_.end(), arrivals_, arrivals);  // models take turns
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
  for (const Arrivals& model : arrivals_) load.waiting += static_cast<uint32_t>(model.waiting());
  const Micros now = now_micros();
  if (load == reported_ || (!idle && now - reported_at_ < kLoadReportMicros)) return;
  reported_ = load;
  reported_at_ = now;
  sink_(load);
}

bool Engine::Impl::tell_positions(bool idle) {
  if (!asked_) return true;
  const Micros now = now_micros();
  if (worked_out_ == 0 && !idle && now - told_at_ < kPositionsMicros) return true;
  const Micros end = now + std::min<Micros>(kPositionsPieceMicros, options_.slice_micros);
  while (worked_out_ < asked_->ids.size()) {
    if (const auto one = position(asked_->ids[worked_out_++])) positions_.requests.push_back(*one);
    if (now_micros() >= end) break;
  }
  if (worked_out_ < asked_->ids.size()) return false;
  asked_.reset();
  told_at_ = now;
  // Since the first ones were worked out, some have started or ended.
  std::erase_if(positions_.requests, [this](const link::Position& one) { return !waits(one.id); });
  sink_(std::exchange(positions_, {}));
  return true;
}

std::optional<link::Position> Engine::Impl::position(uint64_t id) const {
  for (auto& [path, model] : models_) {
    if (const auto position = model->position(id)) return position;
  }
  for (const Arrivals& arrivals : arrivals_) {
    auto position = arrivals.position(id);
    if (!position) continue;
    const auto served = models_.find(arrivals.path());
    if (served != models_.end()) {
      position->position += static_cast<uint32_t>(served->second->waiting(arrivals.which(id)));
    }
    return position;
  }
  return std::nullopt;
}

bool Engine::Impl::waits(uint64_t id) const {
  return std::any_of(models_.begin(), models_.end(),
                     [&](const auto& entry) { return entry.second->waits(id); }) ||
         std::any_of(arrivals_.begin(), arrivals_.end(),
                     [&](const Arrivals& model) { return model.has(id); });
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
