// Users and groups by what a file calls them: a name, or a number.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/base/result.h"

namespace facet::broker {

// Nothing if `key` is no number. The greatest is no user and no group.
std::optional<uint32_t> id_of(const std::string& key);

// Looks names up where the system knows them. not_found names the key.
Result<uid_t> user_of(const std::string& key);
Result<gid_t> group_of(const std::string& key);

}  // namespace facet::broker
