// Settings: one table of a program that makes its flags, its config file and its manual.
//
// A *setting* is a line of the table. `cache-bytes` in the section `engine` is `--cache-bytes 2G` on the
// command line and `cache_bytes = "2G"` under `[engine]` in the config file; a flag overrides the file. A
// name that begins with its section (`engine-socket`) is without it in the file (`socket`). Where its value
// goes is its *target*; what stands there before is the default that the manual shows.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "daemon/base/result.h"

namespace facet::settings {

// Tables [section.KEY] of the config file that each hold the one setting, by KEY.
using Named = std::map<std::string, std::string>;

struct Setting;
using Table = std::vector<Setting>;

// Tables [section.KEY] of the config file that each hold the settings of one thing. `add` makes the thing KEY
// and returns its settings, or why KEY names none; it is called in the file's order, after the plain values
// of the section around and of [section], which may have settings of its own. `example` is what the manual
// shows. `complete`, if there is one, is called once the settings of the thing that was added last are read,
// and says what is wrong with them together.
struct Keyed {
  std::function<Result<Table>(const std::string& key)> add;
  std::function<Table()> example;
  std::function<Result<void>()> complete = {};
};

// A number with a fraction, within bounds.
struct Decimal {
  double* to;
  double least;
  double most;
};

// A text; texts (the flag may be repeated; in the file they replace the default); a switch; a number; a
// number of bytes ("64K", "1G" and plain bytes); a number with a fraction.
using Target = std::variant<std::string*, std::vector<std::string>*, bool*, uint32_t*, uint64_t*, Decimal,
                            Named*, Keyed>;

enum class Place { kAnywhere, kFlag, kFile };

struct Setting {
  std::string section;  // "": the top of the file; "a.b": the table b in a
  std::string name;     // words joined by '-'
  std::string value;    // what stands for the value in the manual: "PATH"
  std::string help;
  Target target;
  Place place = Place::kAnywhere;
  // Of whole numbers.
  uint64_t least = 0;
  uint64_t most = std::numeric_limits<uint64_t>::max();
  // Of a text, and of each of texts: what it may be; empty: anything.
  std::vector<std::string> choices = {};
};

struct Program {
  std::string name;
  std::string version;
  std::string about;
  // Read if it exists and no --config names another; empty: the program has no config file.
  std::string config_path;
};

// Writes `text` to the setting's target. invalid_argument names the setting and says what it takes.
Result<void> assign(const Setting& setting, std::string_view text);

// Reads a config file. not_found, or invalid_argument with file, line and what is wrong there; unknown keys
// are wrong.
Result<void> read_file(const Table& table, const std::string& path);

// The values of now as lines "cache-bytes=1048576", for another program whose table this is too.
std::vector<std::string> lines(const Table& table);
// Takes over such lines. invalid_argument names the one that is wrong.
Result<void> take_lines(const Table& table, const std::vector<std::string>& lines);

// The whole config file, each setting with its help and its default, as comments.
std::string manual(const Program& program, const Table& table);

// Reads the command line, and the config file if the program has one. A value: main shall return it now, all
// that was to be said (--help, --version, --manual, an error) was printed.
std::optional<int> parse(const Program& program, const Table& table, int argc, const char* const* argv);

}  // namespace facet::settings
