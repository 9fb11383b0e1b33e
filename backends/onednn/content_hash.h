// The hash of a file's content, XXH3 with 128 bits: finds damage, not intent. It is computed piece by piece.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

struct XXH3_state_s;

namespace facet::cpu {

class ContentHash {
 public:
  using Digest = std::array<uint8_t, 16>;

  ContentHash();
  // Begins anew.
  void reset();
  void add(const uint8_t* data, size_t bytes);
  // Of all that was added; the same on every CPU.
  Digest digest() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  std::unique_ptr<XXH3_state_s, Free> state_;
};

}  // namespace facet::cpu
