// The requests of one class that wait, weighted fair by work done.
//
// Work     time of the device in microseconds. A user's work counts divided by the user's weight.
// Account  what a user, or an app inside its user, has had.
// Next     of the user with the least work the app with the least, of that app the request that came first;
//          among equals who was active first. What runs counts here as if it had cost what a request costs on
//          average: one user is not given all slots before its work shows.
// Active   an account of which something waits or runs.
// Floor    the least work of the accounts that were active at the last charge; it never falls. Who becomes
//          active starts there at least: nobody saves up time by being away.
// Debt     work above the floor. An account that is not active is kept until the floor has passed it: nobody
//          loses a debt by being away. At most kIdleUsers and, of each user, kIdleApps of those are kept; the
//          smallest debts are forgotten first, and a user's apps with the user. So memory is bounded by what
//          is active, however many names an app makes up.
// No clock, thread, socket or tensor in here; time is what charge() says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace facet::engine {

// Who a request belongs to.
struct Owner {
  uint64_t user = 0;  // an opaque key
  std::string app;    // divides its user's share; no security boundary
  double weight = 1;  // of the user; what is not in [kLeastWeight, kMostWeight] counts as the nearer of them
};

class FairQueue {
 public:
  using Id = uint64_t;
  static constexpr double kLeastWeight = 1e-6;
  static constexpr double kMostWeight = 1e6;
  static constexpr size_t kIdleUsers = 1024;
  static constexpr size_t kIdleApps = 64;

  FairQueue();
  FairQueue(FairQueue&& other) noexcept;
  FairQueue& operator=(FairQueue&& other) noexcept;
  ~FairQueue();

  // Costs below: O(log n) unless they say otherwise, n of requests, users and a user's apps.
  // No effect if a request of this id waits already.
  void push(Id id, const Owner& owner);
  // One that was evicted: before its app's others.
  void push_front(Id id, const Owner& owner);
  // False if there is none.
  bool remove(Id id);
  std::optional<Id> front() const;  // O(1)
  size_t size() const;

  // One more of `owner` runs, or one less; it is active meanwhile though nothing of it waits. What cannot run
  // (paused for its reader, say) counts as stopped: it would hold the floor down for everyone who comes.
  void started(const Owner& owner);
  void stopped(const Owner& owner);
  // One that ran is over: it counts in what a request costs.
  void ended();
  // Work that was done for `owner`; less than 0 or not a number is none.
  void charge(const Owner& owner, double micros);
  // The same for what says nothing of what a request costs (mean_cost()): its prompt may have been refused.
  void charge_besides(const Owner& owner, double micros);

  // Whether a goes before b: for ordering what runs already. A strict weak order until something changes.
  bool before(const Owner& a, const Owner& b) const;
  // Work of a's user for its weight beyond that of b's user, microseconds; less than 0 if a's had less. For
  // deciding whether b's waiting request may take the place of one of a's.
  double lead(const Owner& a, const Owner& b) const;

  // How many of the waiting requests go before this one if no other comes and each costs what they cost so
  // far on average: an estimate. size() if it does not wait. O(users + the user's apps).
  size_t position(Id id) const;

  // What a request costs of the device on average, microseconds, at least: those that run count with what
  // they cost so far. 0: nothing is known. O(1)
  double mean_cost() const;

  // Accounts of users and apps that are kept.
  size_t accounts() const;
  // How often two accounts, names or requests were compared so far: what the operations cost, whatever a
  // clock says.
  uint64_t comparisons() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace facet::engine
