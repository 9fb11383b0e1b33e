#include "daemon/engine/class_share.h"

#include <algorithm>
#include <limits>

namespace facet::engine {

ClassShare::ClassShare(double minimum, double quantum_micros)
    : minimum_(std::clamp(minimum, 0.0, 1.0 / kClasses)), quantum_(std::max(quantum_micros, 1.0)) {}

std::optional<size_t> ClassShare::next(const std::array<bool, kClasses>& ready) const {
  std::optional<size_t> first;
  for (size_t c = 0; c < kClasses; ++c) {
    if (!ready[c]) continue;
    if (accounts_[c].due) return c;
    if (!first) first = c;
  }
  return first;
}

void ClassShare::ran(size_t which, double micros, const std::array<bool, kClasses>& ready) {
  if (!(micros > 0)) return;
  bool urgent = false;  // something before class c is ready
  for (size_t c = 1; c < kClasses; ++c) {
    urgent |= ready[c - 1];
    Account& account = accounts_[c];
    const double share = minimum_ * micros;
    account.owed = std::min(account.owed + share, kQuanta * std::max(quantum_, share));
    if (!ready[c]) account.owed = std::min(account.owed, 0.0);
    if (c == which) {
      // What nobody more urgent wanted costs nothing.
      const double least = urgent ? -std::numeric_limits<double>::infinity() : std::min(account.owed, 0.0);
      account.owed = std::max(account.owed - micros, least);
    }
    account.due = ready[c] && account.owed > 0 && (account.due || account.owed >= quantum_);
  }
}

}  // namespace facet::engine
