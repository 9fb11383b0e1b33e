// Which class runs next: the most urgent that has something ready, but for a guaranteed share of each lower
// one.
//
// Ready  a class that has something to run now.
// Owed   the part of its guaranteed share that a class below the most urgent ready one has not had,
//        microseconds of the device. It grows while the class is ready, up to kQuanta quanta (or its share of
//        as many slices, if that is more), and lapses when it is not: who comes back after a long time has
//        nothing to catch up. What it has while something more urgent is ready it pays for, ready or not.
// Due    a class that is owed a quantum: it goes before all others until it has had what it is owed, which is
//        about one quantum. Of several due classes the most urgent goes first.
// No clock in here; time is what ran() says.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

namespace facet::engine {

class ClassShare {
 public:
  static constexpr size_t kClasses = 3;  // 0 the most urgent, in the order of protocol::Priority
  static constexpr double kQuanta = 4;   // of a class's owed time at most
  static constexpr double kMinimum = 0.05;

  // `minimum`: of the device's time, for each class but the first; at most 1 / kClasses.
  explicit ClassShare(double minimum = kMinimum, double quantum_micros = 4000);

  // The class to run next; nullopt if none is ready.
  std::optional<size_t> next(const std::array<bool, kClasses>& ready) const;

  bool due(size_t which) const { return accounts_[which].due; }
  // Microseconds; less than 0: it had too much.
  double owed(size_t which) const { return accounts_[which].owed; }

  // A slice of class `which` took so long, while these classes had something ready.
  void ran(size_t which, double micros, const std::array<bool, kClasses>& ready);

 private:
  struct Account {
    double owed = 0;
    bool due = false;
  };

  double minimum_;
  double quantum_;
  std::array<Account, kClasses> accounts_;  // that of class 0 stays empty
};

}  // namespace facet::engine
