// A device on a fake clock, served by the engine's own order: who gets what, and when, in a workload of
// requests.
//
// Sequence  a running request: first it reads its prompt in chunks, then it generates; the step that ends its
//           prompt gives its first token.
// Step      one token of each sequence of a class that generates, and what else fits of prompts. Takes
// Cost::step
//           and Cost::row for each row.
// Slice     the part of a step that runs before the order is asked again. A step of another class may go
// before
//           the rest: the rest waits where it is.
// Slots     how many sequences run at once, of each class.
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
#include "daemon/engine/fair_queue.h"

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
  double slice = 3000;  // at most
};

struct Settings {
  Cost cost;
  uint32_t slots = 16;
  uint32_t chunk = 256;  // rows of a prompt in a step
  uint32_t rows = 272;   // in a step
  double minimum = 0.05;
  double quantum = 4000;
  // A waiting request takes the slot of one whose user is that far ahead, which then waits and starts again.
  double take_over = std::numeric_limits<double>::infinity();
};

// When things happened to a request; less than 0: did not yet.
struct Times {
  double arrival;
  double started = -1;  // in a slot, the first time
  double first_token = -1;
  double finished = -1;
};

class Simulator {
 public:
  explicit Simulator(Settings settings);

  void submit(Request request);
  // No effect if it has ended. Takes effect at once if it waits, with the end of the step if it runs.
  void cancel(uint64_t id);

  // Runs a slice, or moves the clock to the next arrival; false if there is nothing left to do.
  bool step();
  void run_until(double time);
  void run() { run_until(std::numeric_limits<double>::infinity()); }

  // Called at the end of a request; may submit.
  std::function<void(const Request&)> on_finish = [](const Request&) {};

  double now() const { return now_; }
  const Times& times(uint64_t id) const { return times_.at(id); }
  size_t waiting(size_t priority) const { return classes_[priority].queue.size(); }
  // The queues' and the plan's: see FairQueue.
  uint64_t comparisons() const;
  size_t accounts() const;
  double busy(size_t priority) const { return classes_[priority].busy; }
  // The longest time in which the class had something to run and none of it ran.
  double longest_gap(size_t priority) const { return classes_[priority].longest_gap; }
  // The most work of one request.
  double longest_request(size_t priority) const { return classes_[priority].longest_request; }
  uint64_t evictions() const { return evictions_; }

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
    uint32_t rows = 0;  // of the step in work
    bool cancelled = false;
  };
  struct Class {
    engine::FairQueue queue;
    std::unordered_map<uint64_t, Sequence> waiting;
    std::vector<Sequence> running;
    double step_left = 0;
    uint32_t step_rows = 0;
    double busy = 0;
    double idle_until = 0;  // when it last ran or had nothing to run
    double longest_gap = 0;
    double longest_request = 0;
    std::map<uint64_t, Account> users;
    std::map<AppKey, Account> apps;
  };

  void arrive();
  void admit(Class& c);
  void start(Class& c, uint64_t id);
  bool evict(Class& c);
  void plan(Class& c);
  void commit(Class& c);
  void count(Class& c, const engine::Owner& owner, int waiting, int running);

  struct Later {
    bool operator()(const Request& a, const Request& b) const {
      return std::pair(a.arrival, a.id) > std::pair(b.arrival, b.id);
    }
  };

  Settings settings_;
  engine::ClassShare share_;
  std::array<Class, kClasses> classes_;
  std::priority_queue<Request, std::vector<Request>, Later> arrivals_;
  std::unordered_map<uint64_t, Times> times_;
  double now_ = 0;
  uint64_t evictions_ = 0;
};

}  // namespace facet::sim
