#include "daemon/broker/sandbox.h"

#include <algorithm>

namespace facet::broker {
namespace {

constexpr std::string_view kFlatpak = "flatpak:", kSnap = "snap:";

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_lower(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_letter(char c) {
  return is_lower(c) || (c >= 'A' && c <= 'Z');
}

bool is_flatpak_id(std::string_view id) {
  return !id.empty() && id.find('.') != id.npos && id.front() != '.' &&
         std::all_of(id.begin(), id.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '.' || c == '-' || c == '_'; });
}

// With the key of an instance, if it has one: "name_key".
bool is_snap_name(std::string_view name) {
  return !name.empty() && name.front() != '_' && std::all_of(name.begin(), name.end(), [](char c) {
    return is_lower(c) || is_digit(c) || c == '-' || c == '_';
  });
}

std::string named(std::string_view kind, std::string_view id) {
  std::string name = std::string(kind) + std::string(id);
  return is_sandbox(name) ? name : kUnknownSandbox;
}

// Takes the text up to `end` off the front of `rest`, and `end` itself.
std::string_view take_until(std::string_view& rest, char end) {
  const size_t length = std::min(rest.find(end), rest.size());
  const std::string_view taken = rest.substr(0, length);
  rest.remove_prefix(std::min(length + 1, rest.size()));
  return taken;
}

// ---- snap

// Of "snap.NAME.APP", with or without " (MODE)". Empty: no snap's label.
std::string snap_of_label(std::string_view label) {
  constexpr std::string_view kPrefix = "snap.";
  if (!label.starts_with(kPrefix)) return "";
  label.remove_prefix(kPrefix.size());
  const std::string_view name = take_until(label, '.');
  return label.empty() ? kUnknownSandbox : named(kSnap, name);
}

// ---- flatpak

// The name in the group [Application], or [Runtime] where a runtime was started as such.
std::string flatpak_of_info(std::string_view text) {
  std::optional<std::string_view> id;
  bool in_group = false;
  while (!text.empty()) {
    const std::string_view line = take_until(text, '\n');
    if (line.starts_with('[')) {
      in_group = line == "[Application]" || line == "[Runtime]";
      continue;
    }
    constexpr std::string_view kKey = "name=";
    if (!in_group || !line.starts_with(kKey)) continue;
    if (id) return kUnknownSandbox;
    id = line.substr(kKey.size());
  }
  return id ? named(kFlatpak, *id) : kUnknownSandbox;
}

int hex_of(char c) {
  if (is_digit(c)) return c - '0';
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Of "app-flatpak-ID-N.scope", or "flatpak-ID-N.scope" as older ones write it. Empty: no flatpak's scope.
std::string flatpak_of_scope(std::string_view unit) {
  constexpr std::string_view kSuffix = ".scope";
  if (!unit.ends_with(kSuffix)) return "";
  unit.remove_suffix(kSuffix.size());
  const auto has = [&](std::string_view prefix) {
    const bool there = unit.starts_with(prefix);
    if (there) unit.remove_prefix(prefix.size());
    return there;
  };
  if (!has("app-flatpak-") && !has("flatpak-")) return "";
  const size_t dash = unit.rfind('-');
  if (dash == unit.npos) return kUnknownSandbox;
  const auto id = unescaped(unit.substr(0, dash));
  return id ? named(kFlatpak, *id) : kUnknownSandbox;
}

// Of the outermost such scope: what is below it, its processes might have made. Empty: there is none.
std::string flatpak_of_cgroup(std::string_view text) {
  std::string found;
  while (!text.empty()) {
    std::string_view path = take_until(text, '\n');  // "0::/a/b", or "1:name=systemd:/a/b" of version 1
    take_until(path, ':');
    const std::string_view controllers = take_until(path, ':');
    if (!controllers.empty() && controllers != "name=systemd") continue;
    while (!path.empty()) {
      const std::string one = flatpak_of_scope(take_until(path, '/'));
      if (one.empty()) continue;
      if (!found.empty() && found != one) return kUnknownSandbox;
      found = one;
      break;
    }
  }
  return found;
}

// ---- pid namespaces

// Whether its status says that it is in our pid namespace: that its number is the only one.
bool is_in_our_pid_namespace(std::string_view status) {
  constexpr std::string_view kKey = "NSpid:";
  while (!status.empty()) {
    std::string_view line = take_until(status, '\n');
    if (!line.starts_with(kKey)) continue;
    line.remove_prefix(kKey.size());
    const size_t begin = std::min(line.find_first_not_of("\t "), line.size());
    line.remove_prefix(begin);
    return !line.empty() && std::all_of(line.begin(), line.end(), is_digit);
  }
  return false;
}

}  // namespace

std::string sandbox_of(const SandboxTraces& traces) {
  if (traces.label) {
    if (std::string snap = snap_of_label(*traces.label); !snap.empty()) return snap;
  }
  if (traces.sees_root) {
    if (traces.flatpak_info) return flatpak_of_info(*traces.flatpak_info);
  } else if (traces.cgroup) {
    if (std::string flatpak = flatpak_of_cgroup(*traces.cgroup); !flatpak.empty()) return flatpak;
  }
  return traces.status && is_in_our_pid_namespace(*traces.status) ? "" : kUnknownSandbox;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    if (text.size() - i < 4 || text[i + 1] != 'x') return {};
    const int high = hex_of(text[i + 2]), low = hex_of(text[i + 3]);
    if (high < 0 || low < 0) return {};
    plain += static_cast<char>(high << 4 | low);
    i += 3;
  }
  return plain;
}

bool is_sandbox(std::string_view name) {
  if (name.size() > kMaxSandboxBytes) return false;
  if (name.starts_with(kFlatpak)) return is_flatpak_id(name.substr(kFlatpak.size()));
  if (name.starts_with(kSnap)) return is_snap_name(name.substr(kSnap.size()));
  return name == kUnknownSandbox;
}

}  // namespace facet::broker
