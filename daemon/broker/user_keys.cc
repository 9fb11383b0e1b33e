#include "daemon/broker/user_keys.h"

#include <sys/random.h>

#include <cerrno>
#include <system_error>

#include "daemon/base/sha256.h"

namespace facet::broker {
namespace {

constexpr size_t kSecretBytes = 32;  // so few come whole or not at all

std::string new_secret() {
  std::string secret(kSecretBytes, '\0');
  ssize_t got;
  do {
    got = ::getrandom(secret.data(), secret.size(), 0);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(secret.size())) {
    throw std::system_error(errno, std::generic_category(), "getrandom");
  }
  return secret;
}

}  // namespace

UserKeys::UserKeys() : UserKeys(new_secret()) {}

uint64_t UserKeys::of(const Identity& who) const {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(who.uid >> shift);
  return std::stoull(hmac_sha256(secret_, bytes + who.sandbox).substr(0, 16), nullptr, 16);
}

}  // namespace facet::broker
