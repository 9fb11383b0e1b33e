// What the engine knows an identity by: a number that is the same for all of its requests while this facetd
// runs, and that tells nothing of the uid or the sandbox. The engine divides its time by that of the user,
// and keys its prefix cache by that of the user in its sandbox; who does not know the secret of this run
// cannot make another's.
#pragma once

#include <cstdint>
#include <string>

#include "daemon/broker/peer.h"

namespace facet::broker {

class UserKeys {
 public:
  // With a new random secret. std::system_error if the kernel gives none.
  UserKeys();
  explicit UserKeys(std::string secret) : secret_(std::move(secret)) {}

  // The first 64 bits of HMAC-SHA-256 over the uid (4 bytes, little-endian) and the sandbox's name.
  uint64_t of(const Identity& who) const;

 private:
  std::string secret_;
};

}  // namespace facet::broker
