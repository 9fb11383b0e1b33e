// Flow control of one request: how many tokens the engine may send.
//
// A token is *granted* before the engine may send it. The client grants as many as it likes (its credit,
// perhaps without bound); the broker passes that on in portions of at most a *window* beyond what has come,
// and only while the client's socket takes what it is sent. So a slow reader pauses its own sequence, and
// what waits for it in the broker is bounded by the window.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace facet::broker {

class Flow {
 public:
  static constexpr uint32_t kWindow = 128;

  // `credit` as in Generate: 0 is without bound.
  explicit Flow(uint32_t credit) : allowed_(credit == 0 ? kNoBound : credit) {}

  // What to grant the engine now, and counts it as granted; 0 if it is not worth a message yet. For a client
  // whose socket takes what it is sent.
  uint32_t grant() {
    const uint64_t most = std::min(allowed_, received_ + kWindow);
    const uint64_t more = most - std::min(granted_, most);
    const bool last = most == allowed_;
    if (more == 0 || (!last && more < kWindow / 2)) return 0;
    granted_ += more;
    return static_cast<uint32_t>(more);
  }

  void allow(uint32_t tokens) {
    if (allowed_ != kNoBound) allowed_ += tokens;  // 2^32 messages of 2^32 tokens do not come
  }

  // A token came. False if it was not granted: the engine breaks its rules.
  bool take() { return received_++ < granted_; }

  uint64_t received() const { return received_; }

 private:
  static constexpr uint64_t kNoBound = std::numeric_limits<uint64_t>::max();

  uint64_t allowed_;       // by the client, in all
  uint64_t granted_ = 0;   // to the engine, in all
  uint64_t received_ = 0;  // from the engine
};

}  // namespace facet::broker
