// Which sandbox a process is in: the name by which the policy knows it, worked out from what the kernel shows
// of the process. Pure text work: no file, no socket.
//
// Name    "flatpak:org.example.App", "snap:NAME", "unknown" or empty: it is in none that we know of.
// Traces  what the kernel showed of the process, each within kMaxTraceBytes, or nothing where it showed none.
//
// What may be trusted, and how far:
// - The AppArmor label, which the kernel keeps: a snap's is snap.NAME.APP and cannot be left.
// - /.flatpak-info in the process's own root: flatpak puts it there read-only, and who is inside can neither
//   mount over it nor change its root.
// - The name of the control group, app-flatpak-ID-N.scope, which the user's systemd gave it at flatpak's
//   wish. Who is inside cannot move; but flatpak goes on without where there is no systemd of the user. So it
//   only counts where the root may not be looked into.
// - A pid namespace of its own that none of these explains is a container, or a sandbox whose name nobody
//   tells: "unknown". So who is in a flatpak is never taken for someone in none.
// All of this holds against who is inside. A process of the same user that is in no sandbox can make itself
// look like one that is in any; so a sandbox only takes away from what its user may do, and never gives.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace facet::broker {

constexpr size_t kMaxTraceBytes = 64 << 10;
constexpr size_t kMaxSandboxBytes = 200;
constexpr const char* kUnknownSandbox = "unknown";

struct SandboxTraces {
  std::optional<std::string> label;  // of its security module, as the socket or /proc/PID/attr/current has it
  bool sees_root = false;            // its root may be looked into
  std::optional<std::string> flatpak_info;  // the file there
  std::optional<std::string> cgroup;        // /proc/PID/cgroup
  std::optional<std::string> status;        // /proc/PID/status
};

// "unknown" also if traces contradict themselves, are not what their makers write, or miss what would show
// that it is in none.
std::string sandbox_of(const SandboxTraces& traces);

// Whether sandbox_of() may give this name, the empty one apart.
bool is_sandbox(std::string_view name);

// Undoes systemd's escapes in a unit's name, "\x2d". Nothing for one that is not whole.
std::optional<std::string> unescaped(std::string_view text);

}  // namespace facet::broker
