// A served model: a loaded model with its runner, and the requests that wait for it or run on it.
//
// One thread makes it, one uses it. A *step* takes some pending tokens of some running sequences of one
// class, runs them as one batch, and hands on what came out. A step advances slice by slice; one of each
// class may be in work, each in a place of its own, so that a more urgent one overtakes a *parked* one
// between two slices. Who starts, gives way and takes part is for the scheduler; the caller says which class
// goes next.
//
// A running request *follows* another of its app and class that reads the same beginning, until the cache has
// it: of several that begin alike, n answers to one prompt say, each token is read once. It has its place
// meanwhile. Not of another class: the scheduler takes a class whose requests only wait for one that has
// nobody running, and would give it places again and again.
//
// A *registered prompt* is a system prompt of the administrator. Once the model is loaded it reads them one
// after the other, as background requests of its own of which nobody is told, and keeps them for everyone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "daemon/engine/engine.h"
#include "daemon/engine/registered_prompts.h"
#include "daemon/engine/runner.h"
#include "daemon/engine/scheduler.h"
#include "daemon/engine/sequence.h"

namespace facet::engine {

class ServedModel {
 public:
  static constexpr size_t kClasses = Scheduler::kClasses;

  // Loads `path` on `device`, which outlives the result, and the prompts that were registered for it. Any
  // thread: nothing is told to `sink` (see Engine) before another call.
  static Result<std::unique_ptr<ServedModel>> load(plugins::Device& device, const std::string& path,
                                                   std::span<const link::RegisterPrompt> prompts,
                                                   const EngineOptions& options, const Engine::Sink& sink);

  // Queues a request, which came to the engine at `arrived`. The error, naming what is wrong, if it can never
  // run, too many wait, or its first token is to be expected after its deadline (FACET_DEADLINE).
  Result<void> add(const link::Start& start, Micros arrived);
  // That took so long, microseconds, whatever came of it.
  void charge_taking(size_t which, const Owner& owner, double micros) {
    scheduler_.charge_taking(which, owner, micros);
  }
  // When one for which there is no room may try again.
  uint32_t retry_after_ms(size_t which) const;
  // Ends it at once: what is in work of it counts no more and its pages are free. No effect if there is no
  // such request (it may have ended).
  void cancel(uint64_t id);
  void grant(uint64_t id, uint32_t tokens);
  // Ends what has come to its deadline.
  void expire(Micros now);
  // The next one; nothing if no request has one.
  std::optional<Micros> next_deadline() const;

  // Starts waiting requests, as far as there are places and pages, or someone to give them up.
  void admit();
  // Whether a slice of that class can run now.
  bool ready(size_t which) const;
  // Whether a request of that class waits for a place, or a slice of it can run.
  bool has_work(size_t which) const { return ready(which) || waiting(which) > 0; }
  // Requests of that class that wait for a place.
  size_t waiting(size_t which) const { return scheduler_.waiting_of_class(which); }
  // Runs one slice of a class that is ready. Returns how long it took. Throws if the device fails.
  Micros slice(size_t which);

  // Whether that request waits for a place; false for one that is paused.
  bool waits(uint64_t id) const;
  // Of a request that waits; nothing for others.
  std::optional<link::Position> position(uint64_t id) const;

  const model::Model& model() const { return runner_.model(); }
  uint32_t context() const { return context_; }
  link::Load load() const;

 private:
  struct Request {
    Sequence sequence;
    Owner owner;
    uint64_t reader;  // whose key the prefix cache has
    size_t which;
    Micros deadline = 0;               // 0: none
    bool registered = false;           // reads prompts_[prompts_read_]
    const Request* follows = nullptr;  // which followed nobody when this began to
    uint32_t awaited = 0;              // blocks of that one's tokens
  };
  // A step in work.
  struct Part {
    Request* request;  // nullptr: it ended or was evicted in the meantime
    uint32_t rows;
    bool selected;  // its last row's logits give a token
  };
  struct Step {
    explicit Step(uint32_t groups) : batch(groups) {}
    Batch batch;
    std::vector<Part> parts;
    size_t committed = 0;   // parts, the first ones
    uint32_t selected = 0;  // rows of those, whether their sequences still count or not
  };

  ServedModel(Runner runner, std::unique_ptr<PagePools> pools, Result<text::ChatFormat> chat_format,
              std::vector<RegisteredPrompt> prompts, const EngineOptions& options, uint32_t context,
              Engine::Sink sink);

  // Queues the request that reads the next registered prompt, if there is one.
  void read_prompt();
  // It has read it.
  void keep_prompt(Request& request);
  // Requests that may wait: one more while a registered prompt does.
  size_t max_waiting() const;
  // Whether a request that waits has room once these are gone.
  bool fits(const Sequence& sequence, const std::vector<uint64_t>& gone) const;
  // Gives it its place.
  void start(Request& request);
  // What the cache has of its tokens.
  Prefix read_before(const Request& request);
  Error queue_is_full(const link::Start& start) const;
  // FACET_DEADLINE, if by what is known the first token of one that waits comes too late.
  Result<void> check_deadline(const Request& request);
  // How many run at once before others have to wait.
  size_t places() const { return blocked_ ? scheduler_.running() : options_.max_sequences; }
  // At least how long the device reads so many tokens of a prompt.
  double prompt_micros(size_t which, uint32_t tokens) const;
  // Follows whoever reads more of its tokens than the cache has; nobody if there is none.
  void follow(Request& request);
  // Hands what `leader` has read to those who waited for that much, also that nothing more comes of it.
  void release_followers(const Request& leader, bool ends);
  void stop_following(Request& request);
  // Its place goes to one of class `whose`.
  void evict(Request& request, size_t whose);
  // Takes it out of the step in work, if it is in one.
  void drop_from_step(const Request& request);
  void update(Request& request);
  void fill(size_t which);
  // Whether a step of that class makes one of a lower class wait in the middle.
  bool parks(size_t which) const;
  void charge(const Step& step, size_t which, Micros took);
  // Hands on what came out of a step that is over, part by part, at least one, until a slice of which so much
  // is used up is over: what is left goes on with the next one. Returns how long it took; charged to the
  // parts' owners.
  Micros commit(size_t which, Micros used);
  void commit(Request& request, const Part& part, uint32_t row);
  void finish(Request& request);
  void forget(Request& request);

  Runner runner_;
  std::unique_ptr<PagePools> pools_;
  EngineOptions options_;
  Result<text::ChatFormat> chat_format_;  // or why the model has none
  uint32_t context_;
  Engine::Sink sink_;

  Scheduler scheduler_;
  bool blocked_ = false;  // someone waits because there was no room at the last admit()
  std::set<std::pair<Micros, uint64_t>> deadlines_;
  std::vector<Request*> followers_;
  std::vector<RegisteredPrompt> prompts_;
  uint32_t prompts_read_ = 0;
  uint64_t prompt_tokens_ = 0;                                                   // of those that were read
  uint64_t parked_ = 0, evicted_ = 0, cached_tokens_ = 0, computed_tokens_ = 0;  // so far
  std::unordered_map<uint64_t, Request> requests_;  // its elements stay where they are
  std::vector<Step> steps_;                         // one per class; empty parts: none in work
  std::vector<float> logits_;                       // of one row
  sampling::Workspace workspace_;
};

}  // namespace facet::engine
