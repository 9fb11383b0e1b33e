// Which app a process belongs to, by the unit that its user's systemd runs it in. Pure text work: no file, no
// socket.
//
// Desktops start each app in a unit of its own: app[-LAUNCHER]-ID-N.scope or app[-LAUNCHER]-ID[@N].service;
// what a user runs besides is NAME[@N].service. A login session (session-N.scope), a terminal's tab and a
// container name no app. Nobody is kept apart by it: processes of one user can move into any of its units.
#pragma once

#include <string>
#include <string_view>

namespace facet::broker {

// ID or NAME of the innermost such unit below the user's manager (user@UID.service), any bytes; empty: there
// is none. `cgroup`: /proc/PID/cgroup.
std::string app_of_cgroup(std::string_view cgroup);

}  // namespace facet::broker
