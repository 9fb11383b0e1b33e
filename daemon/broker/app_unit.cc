#include "daemon/broker/app_unit.h"

#include <algorithm>

#include "daemon/broker/sandbox.h"

namespace facet::broker {
namespace {

bool take_off(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

// Empty: it names none.
std::string app_of_unit(std::string_view unit) {
  const bool is_app = unit.starts_with("app-");
  if (take_off(unit, ".service")) {
    unit = unit.substr(0, unit.find('@'));
  } else if (is_app && take_off(unit, ".scope")) {
    unit = unit.substr(0, unit.rfind('-'));
  } else {
    return "";
  }
  if (is_app)
    unit.remove_prefix(std::min(unit.rfind('-'), unit.size() - 1) + 1);  // a dash in an ID is escaped
  return unescaped(unit).value_or("");
}

// Of a path of control groups.
std::string app_of_path(std::string_view path) {
  bool below_manager = false;
  std::string app;
  while (!path.empty()) {
    const std::string_view unit = path.substr(0, path.find('/'));
    path.remove_prefix(std::min(unit.size() + 1, path.size()));
    if (below_manager) {
      if (std::string name = app_of_unit(unit); !name.empty()) app = std::move(name);
    } else {
      below_manager = unit.starts_with("user@") && unit.ends_with(".service");
    }
  }
  return app;
}

}  // namespace

std::string app_of_cgroup(std::string_view cgroup) {
  while (!cgroup.empty()) {
    std::string_view line = cgroup.substr(0, cgroup.find('\n'));  // "0::/a/b", or "1:name=systemd:/a/b"
    cgroup.remove_prefix(std::min(line.size() + 1, cgroup.size()));
    for (const std::string_view group : {":name=systemd:", "::"}) {
      const size_t found = line.find(group);
      if (found == line.npos || found != line.find(':')) continue;
      if (std::string app = app_of_path(line.substr(found + group.size())); !app.empty()) return app;
    }
  }
  return "";
}

}  // namespace facet::broker
