// A made-up device on a fake clock, driven by the engine's own scheduler: who gets what, and when, in a
// workload of requests. It stands where ServedModel and Runner stand in the engine, and has their loop; who
// starts, gives way and takes part, how long slices and steps are, and which class goes next is decided by
// Scheduler, RunCosts and ClassShare, as they are.
//
// Sequence  a request: first it reads its prompt in chunks, then it generates; the step that ends its prompt
//           gives its first token. One that is evicted reads all of it again: nothing is kept of it.
// Run       a step on the device, Cost::cuts one after the other; it takes Cost::step and Cost::row for each
//           row, some cuts more of it than others. Between two slices the run of another class may go before
//           the rest: this one is parked.
// Times are microseconds. One thread; the same workload gives the same result.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <queue>
#include <unordered_map>
#include <vector>

#include "daemon/engine/class_share.h"
#include "daemon/engine/run_costs.h"
#include "daemon/engine/scheduler.h"

namespace facet::sim {

constexpr size_t kClasses = engine::ClassShare::kClasses;

struct Request {
  uint64_t id;
  size_t priority;  // class
  engine::Owner owner;
  double arrival;
  uint32_t prompt;  // tokens, at least 1
  uint32_t output;  // tokens, at least 1
};

struct Cost {
  double step = 1500;
  double row = 40;
  uint32_t cuts = 240;  // every tenth costs ten times what the others do

  // Of cuts [first, end) of a run with so many rows, microseconds.
  double of(uint32_t rows, uint32_t first, uint32_t end) const;
};

struct Settings {
  Cost cost;
  uint32_t places = 16;  // requests that run at once, of all classes
  uint32_t chunk = 256;  // rows of a prompt in a step
  Micros slice = 4000;   // that it is to last
};

// When things happened to a request; less than 0: did not yet.
struct Times {
  double arrival;
  double started = -1;  // in a place, the first time
  double first_token = -1;
  double finished = -1;
  double last_token = -1;
  double longest_interval = 0;  // between two tokens
};

class Simulator {
 public:
  explicit Simulator(Settings settings);

  void submit(Request request);
  // No effect if it has ended.
  void cancel(uint64_t id);

  // Runs a slice, or moves the clock to the next arrival; false if there is nothing left to do.
  bool step();
  void run_until(double time);
  void run() { run_until(std::numeric_limits<double>::infinity()); }

  // Called at the end of a request; may submit.
  std::function<void(const Request&)> on_finish = [](const Request&) {};

  double now() const { return now_; }
  const Times& times(uint64_t id) const { return times_.at(id); }
  size_t waiting(size_t priority) const { return classes_[priority].waiting; }
  const engine::Scheduler& scheduler() const { return scheduler_; }
  double busy(size_t priority) const { return classes_[priority].busy; }
  // The longest time in which something of the class was there and none of it ran.
  double longest_gap(size_t priority) const { return classes_[priority].longest_gap; }
  // The most work of one request.
  double longest_request(size_t priority) const { return classes_[priority].longest_request; }
  double longest_slice() const { return longest_slice_; }
  // Of slices with more than one cut: those that the scheduler could have made shorter.
  double longest_of_many() const { return longest_of_many_; }
  uint64_t evictions() const { return evictions_; }
  uint64_t parked() const { return parked_; }

  // What a user, or one of its apps, had in a class. Its moments are by the class's own clock, busy().
  struct Account {
    double weight = 1;
    double work = 0;
    uint64_t waiting = 0;
    uint64_t running = 0;
    double hungry = 0;  // since when something waits and nothing runs
    double longest_hungry = 0;
    double drained = 0;  // when last nothing of it was left
  };
  const std::map<uint64_t, Account>& users(size_t priority) const { return classes_[priority].users; }
  using AppKey = std::pair<uint64_t, std::string>;
  const std::map<AppKey, Account>& apps(size_t priority) const { return classes_[priority].apps; }

 private:
  struct Sequence {
    Request request;
    uint32_t pending;  // tokens it has not read yet
    uint32_t generated = 0;
    double work = 0;
    bool running = false;
  };
  struct Step {
    std::vector<engine::Share> parts;  // without those that ended or were evicted meanwhile
    uint32_t rows = 0;                 // of the run, whether they still count or not
    uint32_t cut = 0;
    double took = 0;  // so far
  };
  struct Class {
    Step step;  // rows 0: none in work
    size_t waiting = 0;
    double busy = 0;
    double idle_until = 0;  // when it last ran or nothing of it was there
    double longest_gap = 0;
    double longest_request = 0;
    std::map<uint64_t, Account> users;
    std::map<AppKey, Account> apps;
  };

  void arrive();
  void admit();
  void evict(uint64_t id, size_t whose);
  void drop_from_step(const Sequence& sequence);
  void update(const Sequence& sequence);
  bool ready(size_t which) const { return classes_[which].step.rows > 0 || scheduler_.ready(which); }
  void fill(size_t which);
  double slice(size_t which);
  void commit(size_t which);
  void forget(uint64_t id);
  void count(const Request& request, int waiting, int running);
  Micros micros() const { return static_cast<Micros>(now_); }

  struct Later {
    bool operator()(const Request& a, const Request& b) const {
      return std::pair(a.arrival, a.id) > std::pair(b.arrival, b.id);
    }
  };

  Settings settings_;
  engine::ClassShare share_;
  engine::Scheduler scheduler_;
  engine::RunCosts costs_;
  std::array<Class, kClasses> classes_;
  std::unordered_map<uint64_t, Sequence> sequences_;
  std::priority_queue<Request, std::vector<Request>, Later> arrivals_;
  std::unordered_map<uint64_t, Times> times_;
  double now_ = 0;
  double longest_slice_ = 0, longest_of_many_ = 0;
  uint64_t evictions_ = 0, parked_ = 0;
};

}  // namespace facet::sim
