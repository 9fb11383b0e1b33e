#include "daemon/broker/user_ids.h"

#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <limits>

namespace facet::broker {

std::optional<uint32_t> id_of(const std::string& key) {
  uint32_t id = 0;
  const char* end = key.data() + key.size();
  auto [rest, wrong] = std::from_chars(key.data(), end, id);
  if (wrong != std::errc() || rest != end || id == std::numeric_limits<uint32_t>::max()) return {};
  return id;
}

Result<uid_t> user_of(const std::string& key) {
  if (const auto id = id_of(key)) return *id;
  if (const passwd* user = ::getpwnam(key.c_str())) return user->pw_uid;
  return Error{FACET_NOT_FOUND, "there is no user '" + key + "'"};
}

Result<gid_t> group_of(const std::string& key) {
  if (const auto id = id_of(key)) return *id;
  if (const group* found = ::getgrnam(key.c_str())) return found->gr_gid;
  return Error{FACET_NOT_FOUND, "there is no group '" + key + "'"};
}

}  // namespace facet::broker
