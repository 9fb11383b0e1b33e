#include "daemon/base/settings.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <iostream>

namespace facet::settings {
namespace {

constexpr int kExitUsage = 2;

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};
template <typename... Cases>
Overloaded(Cases...) -> Overloaded<Cases...>;

std::string key_of(const Setting& setting) {
  const std::string prefix = setting.section + "-";
  const bool prefixed = setting.name.starts_with(prefix);
  std::string key = prefixed ? setting.name.substr(prefix.size()) : setting.name;
  std::replace(key.begin(), key.end(), '-', '_');
  return key;
}

// "64K" is 65536. Nothing for what is no number or does not fit.
std::optional<uint64_t> number_of(std::string_view text, bool bytes) {
  uint64_t number = 0;
  const char* end = text.data() + text.size();
  auto [rest, wrong] = std::from_chars(text.data(), end, number);
  if (wrong != std::errc() || rest == text.data()) return {};
  if (rest == end) return number;
  if (!bytes || rest + 1 != end) return {};
  int shift = 0;
  switch (*rest) {
    case 'K':
      shift = 10;
      break;
    case 'M':
      shift = 20;
      break;
    case 'G':
      shift = 30;
      break;
    default:
      return {};
  }
  if (number > std::numeric_limits<uint64_t>::max() >> shift) return {};
  return number << shift;
}

Error refused(const Setting& setting, std::string_view text, const std::string& wanted) {
  return Error{FACET_INVALID_ARGUMENT,
               setting.name + ": takes " + wanted + ", not '" + std::string(text) + "'"};
}

std::string range_of(const Setting& setting, uint64_t most, const char* what) {
  most = std::min(most, setting.most);
  if (most == std::numeric_limits<uint64_t>::max()) {
    return std::string(what) + " from " + std::to_string(setting.least);
  }
  return std::string(what) + " from " + std::to_string(setting.least) + " to " + std::to_string(most);
}

template <typename Number>
Result<void> assign_number(const Setting& setting, std::string_view text, Number* target) {
  const bool bytes = std::is_same_v<Number, uint64_t>;
  const uint64_t most = std::min<uint64_t>(setting.most, std::numeric_limits<Number>::max());
  auto number = number_of(text, bytes);
  if (!number || *number < setting.least || *number > most) {
    return refused(setting, text, range_of(setting, most, bytes ? "bytes (K, M, G)" : "a number"));
  }
  *target = static_cast<Number>(*number);
  return {};
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string all;
  for (const auto& word : words) all += (all.empty() ? "" : between) + word;
  return all;
}

std::string text_of(double number) {
  char digits[32];
  return {digits, std::to_chars(digits, std::end(digits), number).ptr};
}

Result<void> assign_decimal(const Setting& setting, std::string_view text, const Decimal& target) {
  double number = 0;
  const char* end = text.data() + text.size();
  auto [rest, wrong] = std::from_chars(text.data(), end, number);
  if (wrong != std::errc() || rest != end || !(number >= target.least && number <= target.most)) {
    return refused(setting, text, "a number from " + text_of(target.least) + " to " + text_of(target.most));
  }
  *target.to = number;
  return {};
}

Result<void> check_choice(const Setting& setting, std::string_view text) {
  const auto& choices = setting.choices;
  if (choices.empty() || std::find(choices.begin(), choices.end(), text) != choices.end()) return {};
  return refused(setting, text, "one of " + joined(choices, ", "));
}

// The default of a setting as the config file writes it.
std::string default_of(const Setting& setting) {
  auto quoted = [](const std::string& text) { return '"' + text + '"'; };
  return std::visit(
      Overloaded{[&](std::string* text) { return quoted(*text); },
                 [&](std::vector<std::string>* texts) {
                   std::string all = joined(*texts, "\", \"");
                   return texts->empty() ? std::string("[]") : "[" + quoted(all) + "]";
                 },
                 [](bool* on) { return std::string(*on ? "true" : "false"); },
                 [](uint32_t* number) { return std::to_string(*number); },
                 [&](uint64_t* bytes) {
                   if (*bytes != 0 && *bytes % (1 << 20) == 0) {
                     return quoted(std::to_string(*bytes >> 20) + "M");
                   }
                   return std::to_string(*bytes);
                 },
                 [](const Decimal& number) { return text_of(*number.to); },
                 [&](Named*) { return quoted(setting.value); }, [](const Keyed&) { return std::string(); }},
      setting.target);
}

// What the manual says of a setting.
std::string described(const Setting& setting) {
  std::string text = "\n# " + setting.help;
  if (!setting.choices.empty()) text += " (" + joined(setting.choices, ", ") + ")";
  return text + "\n# " + key_of(setting) + " = " + default_of(setting) + "\n";
}

bool is_of_tables(const Setting& setting) {
  return std::holds_alternative<Named*>(setting.target) || std::holds_alternative<Keyed>(setting.target);
}

// ---- the config file

// What a table holds: plain values first, then the tables in it, each in the file's order.
std::vector<std::pair<std::string, const toml::node*>> in_order(const toml::table& values) {
  std::vector<std::pair<std::string, const toml::node*>> all;
  for (auto&& [key, node] : values) all.emplace_back(key.str(), &node);
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
    const bool a_inner = a.second->is_table(), b_inner = b.second->is_table();
    return a_inner != b_inner ? b_inner : a.second->source().begin < b.second->source().begin;
  });
  return all;
}

class FileReader {
 public:
  FileReader(const Table& table, const std::string& path) : table_(table), path_(path) {}

  Result<void> read(const toml::table& file) { return read_section("", file); }

 private:
  const Setting* find(std::string_view section, std::string_view key) const {
    for (const auto& setting : table_) {
      if (setting.place == Place::kFlag || is_of_tables(setting)) continue;
      if (setting.section == section && key_of(setting) == key) return &setting;
    }
    return nullptr;
  }
  bool is_section(std::string_view name) const {
    return std::any_of(table_.begin(), table_.end(), [&](const auto& s) { return s.section == name; });
  }
  const Setting* find_of_tables(std::string_view section) const {
    for (const auto& setting : table_) {
      if (setting.section == section && is_of_tables(setting)) return &setting;
    }
    return nullptr;
  }

  Error wrong(const toml::node& node, const std::string& what) const {
    return Error{FACET_INVALID_ARGUMENT,
                 path_ + ":" + std::to_string(node.source().begin.line) + ": " + what};
  }

  Result<void> read_section(const std::string& section, const toml::table& values) {
    for (const auto& [name, node] : in_order(values)) {
      const std::string path = section.empty() ? name : section + "." + name;
      const toml::table* inner = node->as_table();
      if (inner && is_section(path)) {
        FACET_CHECK(read_inner(path, *inner));
        continue;
      }
      const Setting* setting = find(section, name);
      if (!setting) return wrong(*node, "unknown setting '" + name + "'");
      FACET_CHECK(read_value(*setting, *node));
    }
    return {};
  }

  Result<void> read_inner(const std::string& section, const toml::table& values) {
    const Setting* setting = find_of_tables(section);
    if (!setting) return read_section(section, values);
    const auto* keyed = std::get_if<Keyed>(&setting->target);
    return keyed ? read_keyed(*setting, *keyed, values) : read_named(*setting, values);
  }

  Result<void> read_keyed(const Setting& setting, const Keyed& keyed, const toml::table& tables) {
    for (const auto& [key, node] : in_order(tables)) {
      const std::string title = "[" + setting.section + "." + key + "]";
      const toml::table* inner = node->as_table();
      if (const Setting* plain = find(setting.section, key); plain && !inner) {
        FACET_CHECK(read_value(*plain, *node));
        continue;
      }
      if (!inner) return wrong(*node, "'" + key + "' should be a table " + title);
      auto settings = keyed.add(key);
      if (!settings) return wrong(*node, title + ": " + settings.error().message);
      FACET_CHECK(FileReader(*settings, path_).read_section(setting.section, *inner));
      const auto completed = keyed.complete ? keyed.complete() : Result<void>();
      if (!completed) return wrong(*node, title + ": " + completed.error().message);
    }
    return {};
  }

  Result<void> read_named(const Setting& setting, const toml::table& tables) {
    for (auto&& [key, node] : tables) {
      const std::string name(key.str());
      const toml::table* inner = node.as_table();
      const std::string title = "[" + setting.section + "." + name + "]";
      if (!inner) return wrong(node, "'" + name + "' should be a table " + title);
      for (auto&& [inner_key, inner_node] : *inner) {
        if (inner_key.str() != key_of(setting)) {
          return wrong(inner_node, "unknown setting '" + std::string(inner_key.str()) + "' in " + title);
        }
      }
      auto value = (*inner)[key_of(setting)].value_exact<std::string>();
      if (!value) return wrong(node, title + " needs a text '" + key_of(setting) + "'");
      (**std::get_if<Named*>(&setting.target))[name] = *value;
    }
    return {};
  }

  Result<void> read_value(const Setting& setting, const toml::node& node) {
    if (auto* const* texts = std::get_if<std::vector<std::string>*>(&setting.target)) (*texts)->clear();
    return read_values(setting, node);
  }

  Result<void> read_values(const Setting& setting, const toml::node& node) {
    if (const auto* list = node.as_array()) {
      if (!std::holds_alternative<std::vector<std::string>*>(setting.target)) {
        return wrong(node, setting.name + " takes one value, not a list");
      }
      for (const auto& element : *list) {
        if (element.is_array()) return wrong(element, setting.name + " takes a list of texts, not of lists");
        FACET_CHECK(read_values(setting, element));
      }
      return {};
    }
    std::string text;
    if (auto string = node.value_exact<std::string>()) {
      text = *string;
    } else if (auto integer = node.value_exact<int64_t>()) {
      text = std::to_string(*integer);
    } else if (auto boolean = node.value_exact<bool>()) {
      text = *boolean ? "true" : "false";
    } else if (auto number = node.value_exact<double>();
               number && std::holds_alternative<Decimal>(setting.target)) {
      text = text_of(*number);
    } else {
      return wrong(node, setting.name + " takes a text, a whole number, true or false");
    }
    auto assigned = assign(setting, text);
    return assigned ? Result<void>() : wrong(node, assigned.error().message);
  }

  const Table& table_;
  const std::string path_;
};

// ---- the command line

// What the command line says, to be assigned after the config file was read.
struct Flags {
  std::vector<std::pair<const Setting*, std::string>> values;
  std::string config_path;
  bool manual = false;
};

void add_flag(CLI::App& app, const Setting& setting, Flags& flags) {
  if (setting.place == Place::kFile) return;
  const std::string flag = "--" + setting.name;
  auto keep = [&flags, &setting](const std::string& text) { flags.values.emplace_back(&setting, text); };
  std::string help = setting.help;
  if (!setting.choices.empty()) help += " (" + joined(setting.choices, ", ") + ")";
  CLI::Option* option = nullptr;
  if (std::holds_alternative<bool*>(setting.target)) {
    option = app.add_flag_callback(
        flag, [keep] { keep("true"); }, help);
  } else if (std::holds_alternative<std::vector<std::string>*>(setting.target)) {
    auto keep_all = [keep](const std::vector<std::string>& texts) {
      for (const auto& text : texts) keep(text);
    };
    option = app.add_option_function<std::vector<std::string>>(flag, keep_all, help)->expected(1)->take_all();
  } else {
    option = app.add_option_function<std::string>(flag, keep, help)->default_str(default_of(setting));
  }
  if (!setting.value.empty()) option->type_name(setting.value);
  if (!setting.section.empty()) option->group(setting.section);
}

// The file first, then the flags, which override it.
Result<void> apply(const Program& program, const Table& table, const Flags& flags) {
  if (!flags.config_path.empty()) {
    FACET_CHECK(read_file(table, flags.config_path));
  } else if (!program.config_path.empty() && ::access(program.config_path.c_str(), F_OK) == 0) {
    FACET_CHECK(read_file(table, program.config_path));
  }
  for (const auto& [setting, text] : flags.values) {
    auto assigned = assign(*setting, text);
    if (!assigned) return Error{assigned.error().code, "--" + assigned.error().message};
  }
  return {};
}

}  // namespace

Result<void> assign(const Setting& setting, std::string_view text) {
  return std::visit(
      Overloaded{
          [&](std::string* target) -> Result<void> {
            FACET_CHECK(check_choice(setting, text));
            *target = text;
            return {};
          },
          [&](std::vector<std::string>* target) -> Result<void> {
            FACET_CHECK(check_choice(setting, text));
            target->emplace_back(text);
            return {};
          },
          [&](bool* target) -> Result<void> {
            if (text != "true" && text != "false") return refused(setting, text, "true or false");
            *target = text == "true";
            return {};
          },
          [&](uint32_t* target) { return assign_number(setting, text, target); },
          [&](uint64_t* target) { return assign_number(setting, text, target); },
          [&](const Decimal& target) { return assign_decimal(setting, text, target); },
          [&](Named*) -> Result<void> { return refused(setting, text, "tables of the config file"); },
          [&](const Keyed&) -> Result<void> { return refused(setting, text, "tables of the config file"); }},
      setting.target);
}

Result<void> read_file(const Table& table, const std::string& path) {
  if (::access(path.c_str(), R_OK) != 0) {
    return Error{FACET_NOT_FOUND, "config file " + path + " cannot be read"};
  }
  try {
    const toml::table file = toml::parse_file(path);
    return FileReader(table, path).read(file);
  } catch (const toml::parse_error& error) {
    return Error{FACET_INVALID_ARGUMENT, path + ":" + std::to_string(error.source().begin.line) + ": " +
                                             std::string(error.description())};
  }
}

std::vector<std::string> lines(const Table& table) {
  std::vector<std::string> all;
  for (const auto& setting : table) {
    const auto add = [&](const std::string& value) { all.push_back(setting.name + "=" + value); };
    std::visit(Overloaded{[&](std::string* text) { add(*text); },
                          [&](std::vector<std::string>* texts) {
                            for (const auto& text : *texts) add(text);
                          },
                          [&](bool* on) { add(*on ? "true" : "false"); },
                          [&](uint32_t* number) { add(std::to_string(*number)); },
                          [&](uint64_t* bytes) { add(std::to_string(*bytes)); },
                          [&](const Decimal& number) { add(text_of(*number.to)); }, [](Named*) {},
                          [](const Keyed&) {}},
               setting.target);
  }
  return all;
}

Result<void> take_lines(const Table& table, const std::vector<std::string>& lines) {
  for (const auto& line : lines) {
    const std::string name = line.substr(0, line.find('='));
    const auto setting =
        std::find_if(table.begin(), table.end(), [&](const Setting& one) { return one.name == name; });
    if (setting == table.end() || name.size() == line.size()) {
      return Error{FACET_INVALID_ARGUMENT, "unknown setting '" + line + "'"};
    }
    FACET_CHECK(assign(*setting, std::string_view(line).substr(name.size() + 1)));
  }
  return {};
}

std::string manual(const Program& program, const Table& table) {
  std::string text = "# " + program.name + " " + program.version + ": " + program.about + "\n";
  std::string title;
  for (const auto& setting : table) {
    if (setting.place == Place::kFlag) continue;
    const std::string its = is_of_tables(setting)     ? "# [" + setting.section + ".NAME]"
                            : setting.section.empty() ? ""
                                                      : "[" + setting.section + "]";
    if (its != title) text += "\n" + its + "\n";
    title = its;
    if (const auto* keyed = std::get_if<Keyed>(&setting.target)) {
      text += "# " + setting.help + "\n";
      for (const auto& inner : keyed->example()) text += described(inner);
    } else {
      text += described(setting);
    }
  }
  return text;
}

std::optional<int> parse(const Program& program, const Table& table, int argc, const char* const* argv) {
  CLI::App app(program.about, program.name);
  app.set_version_flag("--version", program.name + " " + program.version);
  Flags flags;
  if (!program.config_path.empty()) {
    app.add_option("--config", flags.config_path, "the config file")->type_name("PATH");
    app.add_flag("--manual", flags.manual, "print a config file with all settings and their defaults");
  }
  for (const auto& setting : table) add_flag(app, setting, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (flags.manual) {
    std::cout << manual(program, table);
    return 0;
  }
  auto applied = apply(program, table, flags);
  if (applied) return {};
  std::cerr << program.name << ": " << applied.error().message << "\n";
  return kExitUsage;
}

}  // namespace facet::settings
