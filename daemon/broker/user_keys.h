// What the engine knows a user by: a number that is the same for all of one user's requests while this facetd
// runs, and that tells nothing of the uid. The engine divides its time and keys its prefix cache by it; who
// does not know the secret of this run cannot make another user's.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace facet::broker {

class UserKeys {
 public:
  // With a new random secret. std::system_error if the kernel gives none.
  UserKeys();
  explicit UserKeys(std::string secret) : secret_(std::move(secret)) {}

  // The first 64 bits of HMAC-SHA-256 over the uid (4 bytes, little-endian).
  uint64_t of(uid_t user) const;

 private:
  std::string secret_;
};

}  // namespace facet::broker
