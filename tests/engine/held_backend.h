// A backend for tests: the reference, but that it makes a program when the test lets it, and computes a slice
// when the test lets it if that wants so. So a load, or a slice, lasts as long as the test wants.
#pragma once

#include <atomic>
#include <cstdint>
#include <semaphore>

namespace facet::test {

// What test and plugin share, in one process.
struct Gate {
  std::counting_semaphore<> reached{0};  // counts the loads that came to it
  std::counting_semaphore<> open{0};     // so many may pass
  std::atomic<bool> fails{false};        // who passes finds no memory

  std::atomic<uint64_t> slices{0};             // that were submitted so far
  std::atomic<bool> holds_slices{false};       // each one from now on
  std::counting_semaphore<> slice_reached{0};  // counts those that were held
  std::counting_semaphore<> slice_open{0};     // so many of them may go on
};

}  // namespace facet::test

// The plugin's symbol beside facet_backend_entry.
extern "C" facet::test::Gate* facet_test_gate();
