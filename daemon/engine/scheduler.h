// The scheduler of one model: who waits, who runs, who gives way, and what a class's next step consists of.
//
// Class     how urgent a request is, by number: 0 is the most urgent (protocol::Priority). A step is of one
//           class, so that nobody more urgent pays for it; which class goes next is for ClassShare.
// Waiting   known, without a place in the cache.
// Running   with one.
// Evicted   put back among the waiting, to be read again from its first token, so that someone else gets its
//           place. One that is paused waits for no place until it is resumed.
//
// Turn      of a class that has something to do and nobody running who could do it, because others hold the
//           places: it is owed its minimum share meanwhile. Once it is owed kTurnMicros it is its turn: its
//           next request takes a place from any other class, and keeps it from the more urgent ones until the
//           class has had what it was owed. So the share is one of time even where places are few.
//
// Pure: no clock, thread, socket or tensor; time is handed in. Inside a class it is weighted fair by the
// device's time that was used: by user, then by app, then by arrival (FairQueue).
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <unordered_map>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/engine/class_share.h"
#include "daemon/engine/fair_queue.h"
#include "daemon/engine/run_costs.h"

namespace facet::engine {

// What the next step of a class may have.
struct StepSize {
  uint32_t rows;        // of those who generate and of prompts
  uint32_t generating;  // requests, of those who generate
};

// A part of a step: so many rows, at least 1, of a running request.
struct Share {
  uint64_t id;
  uint32_t rows;
};

class Scheduler {
 public:
  using Id = uint64_t;
  static constexpr size_t kClasses = ClassShare::kClasses;
  // A user whose requests used that much more of the device than those of one that waits gives a place up to
  // it, microseconds of the device for the user's weight. Twice as much each time that a request has given
  // way to its equals: it gets to its end however long that takes, though they take turns.
  static constexpr double kLeadToEvict = 2e6;
  // A user that far behind another in the device's time for the user's weight has its tokens at least as fast
  // as its share of the device would give them: what others have in the same step is bounded by that. Who
  // reads and generates enough keeps up with the others by when its requests start; who has one stream could
  // not, since in a step with many rows of others its own costs next to nothing, and takes as long as the
  // step.
  static constexpr double kLeadToBound = 500e3;
  // That a class is owed when its turn comes. Twice as much time is a request's each time that it came to the
  // end of its class's turn before its own end: what has to be read anew gets further each time.
  static constexpr double kTurnMicros = 200e3;
  // A request whose reader takes nothing for that long gives its place to anyone who waits: nobody holds
  // places by not reading. Longer than a reader's own delays. Pauses add up, less kWorkCounts times what is
  // between them: so it does not help to take a token now and then.
  static constexpr Micros kStalledMicros = 1'000'000;
  static constexpr Micros kWorkCounts = 4;
  // Times in a row that a request loses its place to more urgent ones, before it has done a step. Then it
  // keeps it for one: who starts and cancels urgent requests all the time cannot keep it from coming on.
  static constexpr int kMostLost = 3;
  // What a step of a class may take, so that one who asks in between does not wait long, and who generates
  // beside a prompt gets its tokens in time.
  static constexpr std::array<Micros, kClasses> kStepMicros{100'000, 200'000, 800'000};
  // Rows of prompts that a step has in any case: fewer read the weights for too little work. Less beside
  // those who generate and wait for it.
  static constexpr uint32_t kLeastRows = 64, kLeastRowsBeside = 16;

  // A waiting request that starts now, and the running ones that give their places up for it.
  struct Admission {
    Id id;
    std::vector<Id> evicted;
  };
  // Whether there is room for a waiting request once these running ones are gone.
  using Fits = std::function<bool(Id id, const std::vector<Id>& gone)>;

  // `id` is new.
  void add(Id id, size_t which, const Owner& owner);
  // Forgets it, waiting or running. No effect if it is not known.
  void remove(Id id);

  // The waiting request of that class that starts next.
  std::optional<Id> next_waiting(size_t which) const { return classes_[which].waiting.front(); }
  void start(Id id);
  // A running request gives its place to one of class `whose`.
  void evict(Id id, size_t whose);
  // Its reader takes tokens again: if it was evicted while it was paused, it waits for a place now.
  void resume(Id id);
  // Who starts next, if anyone can: of a class whose turn it is, else of the most urgent class whose next
  // request has room or gets it from others. Nobody is evicted in vain. The caller evicts and starts them,
  // and asks again.
  std::optional<Admission> admit(Micros now, const Fits& fits) const;
  // The running request that gives its place to `waiting`: one of a lower class or of a user who is far
  // ahead; in its class's turn also one of a more urgent class. Of the lowest such class the one who is
  // furthest ahead, and of that one's the youngest. Not one of `spared`.
  std::optional<Id> victim(Id waiting, const std::vector<Id>& spared) const;

  // What a running request has to do: tokens that are not in the cache yet; paused without credit.
  void update(Id id, uint32_t pending, bool paused, Micros now);
  // Whether a running request of that class has something to do.
  bool ready(size_t which) const { return classes_[which].ready > 0; }
  // Running requests of that class that generate: they have one pending token.
  uint32_t generating(size_t which) const { return classes_[which].generating; }
  // The next step of a class: those that generate (one pending token), so that weights are read once for
  // them, then prompts, at most `chunk` rows of one. If not all that generate have a row, each user has one,
  // then each another, those first whose turn was longest ago.
  std::vector<Share> plan(size_t which, const StepSize& size, uint32_t chunk) const;
  // Rows that a step may have with so many who generate, by what runs cost; at most `most`.
  uint32_t step_rows(size_t which, uint32_t generating, uint32_t most, const RunCosts& costs,
                     Micros now) const;
  // What the next step may have: that, and no more than is fair to who is far behind.
  StepSize step_size(size_t which, uint32_t most, const RunCosts& costs, Micros now) const;
  // A running or just removed request used so much of the device.
  void charge(size_t which, const Owner& owner, double micros);
  // So much time of the engine went to a request before it waited, or was refused.
  void charge_taking(size_t which, const Owner& owner, double micros) {
    classes_[which].waiting.charge_besides(owner, micros);
  }

  // Whether one more request of a user may wait where at most `most` may: a user has at most as many as that
  // leaves places for others. So one who floods has half of them, and no other is refused for it.
  bool has_room(uint64_t user, size_t most) const;
  // What a user is told for whom there is none.
  Error no_room(uint64_t user) const;

  // All that do not run.
  size_t waiting() const { return requests_.size() - running_; }
  size_t waiting(uint64_t user) const;
  // Of a class, those that wait for a place.
  size_t waiting_of_class(size_t which) const { return classes_[which].waiting.size(); }
  size_t running() const { return running_; }
  // Those of a class, in order of arrival.
  std::vector<Id> running(size_t which) const;
  // Waiting requests of its class that start before it, an estimate.
  size_t position(Id id) const;
  // Microseconds until a waiting request had its first `work` microseconds of the device, an estimate by what
  // requests cost so far: what is more urgent goes first, and of its own class as many must end as there are
  // before it beyond the `places`; its class's guaranteed share is the least that it gets. Costs position().
  double expected(Id id, size_t places, double work) const;

  // Of all queues: see FairQueue.
  size_t accounts() const;
  uint64_t comparisons() const;

 private:
  struct Request {
    Id id;
    size_t which;
    Owner owner;
    uint64_t arrival;
    int gave_way = 0;  // how often to its equals, while it had something to do
    int lost = 0;      // its place to more urgent ones, since it had a step
    bool running = false;
    bool in_turn = false;  // it started in its class's turn
    uint32_t pending = 0;
    bool paused = false;
    Micros paused_since = 0;  // or that long before, by earlier pauses
    Micros idle = 0;          // what the pauses came to when it was resumed last
    Micros resumed = 0;
    uint64_t updated = 0;  // when, counted in updates

    bool ready() const { return running && pending > 0 && !paused; }
    bool generating() const { return ready() && pending == 1; }
  };
  struct Class {
    FairQueue waiting;
    std::vector<Request*> running;  // in order of arrival; they are looked up for each slice
    uint32_t ready = 0, generating = 0;
  };
  // Whether it is the class's turn.
  bool has_turn(size_t which) const { return classes_[which].ready == 0 && turns_.due(which); }
  // Whether a running request keeps its place from other classes.
  bool keeps_turn(const Request& request) const;
  // The running request that has waited longest for its reader, for kStalledMicros at least, and is not one
  // of `spared`.
  std::optional<Id> stalled(Micros now, const std::vector<Id>& spared) const;
  // The most that a step may have so that nobody who is far behind has less than its user's part: of the time
  // if it generates, of the rows if it reads. What it takes to generate without others is tried where it is
  // not known: then the step has its own rows.
  StepSize fair_size(size_t which, const RunCosts& costs, Micros now) const;
  using Requests = std::vector<const Request*>;
  Requests take_turns(size_t which, Requests generating, uint32_t most) const;
  void leave_running(Request& request);
  void no_longer_waits(const Request& request);

  std::array<Class, kClasses> classes_;
  ClassShare turns_{ClassShare::kMinimum, kTurnMicros};
  std::unordered_map<Id, Request> requests_;
  std::unordered_map<uint64_t, size_t> waiting_;  // by user; no user has 0
  uint64_t arrivals_ = 0, updates_ = 0;
  size_t running_ = 0;
};

}  // namespace facet::engine
