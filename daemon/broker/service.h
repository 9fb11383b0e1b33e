// What systemd gives to its services and hears from them; all of it does nothing without systemd.
#pragma once

#include <optional>

#include "daemon/base/result.h"
#include "daemon/base/unique_fd.h"

namespace facet::broker {

// The listening Unix socket of socket activation; nothing if there is none. invalid_argument for anything
// else that was handed over.
Result<std::optional<UniqueFd>> inherited_socket();

void notify_ready();
void notify_stopping();

}  // namespace facet::broker
