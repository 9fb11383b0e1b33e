// A queue of numbers that gives the smallest first, fast if what comes in is mostly not below what went out
// last.
//
// Numbers from `last_` on stand in *buckets*: bucket b > 0 holds those that first differ from last_ in bit
// b - 1, bucket 0 those that equal it. When bucket 0 is empty, the smallest number of the next bucket becomes
// last_ and the others there move to lower buckets: each number moves at most 64 times, over memory in order.
// Numbers below last_, the *late* ones, stand in a heap.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <functional>
#include <vector>

namespace facet::text {

// Of numbers below 2^63.
class RadixQueue {
 public:
  void push(uint64_t number) {
    if (number < last_) {
      late_.push_back(number);
      std::push_heap(late_.begin(), late_.end(), std::greater());
    } else {
      put(number);
    }
  }

  // The smallest number into `number`, out of the queue; false if there is none. `soon` is called with
  // numbers that are among the next ones, so that what they stand for can be fetched.
  template <typename Soon>
  bool pop(uint64_t& number, const Soon& soon) {
    if (!late_.empty()) {
      std::pop_heap(late_.begin(), late_.end(), std::greater());
      number = late_.back();
      late_.pop_back();
      return true;
    }
    if (filled_ == 0) {
      last_ = 0;
      return false;
    }
    if (buckets_[0].empty()) spread(static_cast<size_t>(std::countr_zero(filled_)), soon);
    number = last_;
    buckets_[0].pop_back();
    if (buckets_[0].empty()) filled_ &= ~uint64_t{1};
    return true;
  }

 private:
  static constexpr size_t kSoon = 64;  // numbers

  void put(uint64_t number) {
    auto bucket = static_cast<size_t>(std::bit_width(number ^ last_));
    buckets_[bucket].push_back(number);
    filled_ |= uint64_t{1} << bucket;
  }

  template <typename Soon>
  void spread(size_t index, const Soon& soon) {
    std::vector<uint64_t>& bucket = buckets_[index];
    last_ = *std::min_element(bucket.begin(), bucket.end());
    filled_ &= ~(uint64_t{1} << index);
    const bool next = bucket.size() <= kSoon;
    for (uint64_t number : bucket) {
      put(number);
      if (next) soon(number);
    }
    bucket.clear();
  }

  uint64_t last_ = 0;
  uint64_t filled_ = 0;  // bit b: bucket b has numbers
  std::array<std::vector<uint64_t>, 64> buckets_;
  std::vector<uint64_t> late_;
};

}  // namespace facet::text
