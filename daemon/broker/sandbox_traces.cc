#include "daemon/broker/sandbox_traces.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>

#include "daemon/base/unique_fd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace facet::broker {
namespace {

UniqueFd pidfd_of(int socket, pid_t pid) {
  int fd = -1;
  socklen_t size = sizeof fd;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0) return UniqueFd(fd);
  if (errno != ENOPROTOOPT || pid <= 0) return UniqueFd();
  return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool has_ended(const UniqueFd& process) {
  pollfd ends = {process.get(), POLLIN, 0};
  return ::poll(&ends, 1, 0) != 0;
}

// The label that the kernel put down when the peer connected, without a closing zero.
std::optional<std::string> label_of(int socket) {
  std::string label(1 << 10, '\0');
  auto size = static_cast<socklen_t>(label.size());
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERSEC, label.data(), &size) != 0) return {};
  label.resize(size);
  return label.substr(0, label.find('\0'));
}

// A regular file of at most kMaxTraceBytes.
std::optional<std::string> text_of(int folder, const char* path) {
  const UniqueFd file(::openat(folder, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY));
  struct stat about = {};
  if (!file || ::fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) return {};
  std::string text(kMaxTraceBytes + 1, '\0');
  size_t length = 0;
  while (length < text.size()) {
    const ssize_t got = ::read(file.get(), text.data() + length, text.size() - length);
    if (got < 0) return {};
    if (got == 0) break;
    length += static_cast<size_t>(got);
  }
  if (length > kMaxTraceBytes) return {};
  text.resize(length);
  return text;
}

// A file that is there and cannot be read is an empty one: it names nothing.
void look_into_root(int process, SandboxTraces& traces) {
  const UniqueFd root(::openat(process, "root", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root) return;
  struct stat about = {};
  constexpr const char* kInfo = ".flatpak-info";
  const bool there = ::fstatat(root.get(), kInfo, &about, AT_SYMLINK_NOFOLLOW) == 0;
  if (!there && errno != ENOENT) return;
  traces.sees_root = true;
  if (there) traces.flatpak_info = text_of(root.get(), kInfo).value_or("");
}

}  // namespace

SandboxTraces traces_of(int socket, pid_t pid) {
  SandboxTraces traces;
  traces.label = label_of(socket);
  const UniqueFd held = pidfd_of(socket, pid);
  if (!held) return traces;
  const UniqueFd process(::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!process) return traces;
  const auto label = traces.label;
  for (const char* place : {"attr/apparmor/current", "attr/current"}) {
    if (!traces.label) traces.label = text_of(process.get(), place);
  }
  traces.cgroup = text_of(process.get(), "cgroup");
  traces.status = text_of(process.get(), "status");
  look_into_root(process.get(), traces);
  if (!has_ended(held)) return traces;
  SandboxTraces nothing;
  nothing.label = label;
  return nothing;
}

}  // namespace facet::broker
