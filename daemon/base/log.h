// The process's log: one line an event on standard error, with the level that systemd reads ("<4>...") when
// standard error is the journal. Thread-safe. A message names the thing it is about.
#pragma once

#include <string>
#include <string_view>

namespace facet::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// Called once in main, before any thread starts. `name` opens every line on a terminal.
void start(std::string_view name, Level least);
// "debug", "info", "warning" or "error"; kInfo for anything else.
Level level_of(std::string_view name);

// Control characters are written as spaces: a message may quote what a peer sent, and must stay one line.
void write(Level level, std::string_view message);
// What write() makes of a message.
std::string one_line(std::string_view message);
inline void debug(std::string_view message) {
  write(Level::kDebug, message);
}
inline void info(std::string_view message) {
  write(Level::kInfo, message);
}
inline void warning(std::string_view message) {
  write(Level::kWarning, message);
}
inline void error(std::string_view message) {
  write(Level::kError, message);
}

}  // namespace facet::log
