#include "daemon/text/json_value.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>

namespace facet::text {
namespace {

using nlohmann::json;
using Kind = JsonValue::Kind;

// How much of a place is named in a message.
constexpr size_t kNamedDepth = 8;
constexpr size_t kNamedBytes = 64;

// Leaves one member for each key: at the place of its first, with the value of its last.
void drop_repeated_keys(JsonValue& object) {
  const size_t count = object.keys.size();
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return object.keys[a] < object.keys[b]; });
  std::vector<bool> repeated(count);
  bool any = false;
  for (size_t i = 0; i < count;) {
    size_t end = i + 1;
    while (end < count && object.keys[order[end]] == object.keys[order[i]])
      repeated[order[end++]] = any = true;
    if (end - i > 1) object.items[order[i]] = std::move(object.items[order[end - 1]]);
    i = end;
  }
  if (!any) return;
  size_t kept = 0;
  for (size_t i = 0; i < count; ++i) {
    if (repeated[i]) continue;
    if (kept != i) {
      object.keys[kept] = std::move(object.keys[i]);
      object.items[kept] = std::move(object.items[i]);
    }
    ++kept;
  }
  object.keys.resize(kept);
  object.items.resize(kept);
}

// Receives what the library's parser finds, which does not recurse.
class Builder : public nlohmann::json_sax<json> {
 public:
  Builder(std::string_view field, JsonBounds bounds) : field_(field), bounds_(bounds) {}

  bool null() override { return add({}); }
  bool boolean(bool value) override {
    JsonValue made;
    made.kind = Kind::kBoolean;
    made.boolean = value;
    return add(std::move(made));
  }
  bool number_integer(int64_t value) override { return number(std::to_string(value)); }
  bool number_unsigned(uint64_t value) override { return number(std::to_string(value)); }
  bool number_float(double, const std::string& digits) override { return number(digits); }
  bool string(std::string& value) override { return scalar(Kind::kString, std::move(value)); }
  bool binary(json::binary_t&) override { return false; }  // not in JSON text
  bool start_object(size_t) override { return open(Kind::kObject); }
  bool start_array(size_t) override { return open(Kind::kArray); }
  bool key(std::string& name) override {
    open_.back().keys.push_back(std::move(name));
    return true;
  }
  bool end_object() override {
    drop_repeated_keys(open_.back());
    return close();
  }
  bool end_array() override { return close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // 406: a number that no double holds.
    error_ = {FACET_MALFORMED, error.id == 406
                                   ? place() + " is a number that is too large"
                                   : place() + ": not JSON or not UTF-8 at byte " + std::to_string(position)};
    return false;
  }

  Result<JsonValue> result() && {
    if (error_.code != FACET_OK) return std::move(error_);
    return std::move(root_);
  }

 private:
  bool number(std::string digits) { return scalar(Kind::kNumber, std::move(digits)); }
  bool scalar(Kind kind, std::string text) {
    JsonValue made;
    made.kind = kind;
    made.text = std::move(text);
    return add(std::move(made));
  }

  bool add(JsonValue value) {
    if (++values_ > bounds_.values)
      return refuse(" has more than " + std::to_string(bounds_.values) + " values");
    if (open_.empty()) {
      root_ = std::move(value);
    } else {
      open_.back().items.push_back(std::move(value));
    }
    return true;
  }

  bool open(Kind kind) {
    if (open_.size() >= static_cast<size_t>(bounds_.depth)) {
      return refuse(" is nested deeper than " + std::to_string(bounds_.depth));
    }
    open_.emplace_back().kind = kind;
    return true;
  }

  bool close() {
    JsonValue value = std::move(open_.back());
    open_.pop_back();
    return add(std::move(value));
  }

  bool refuse(const std::string& why) {
    error_ = {FACET_TOO_LARGE, place() + why};
    return false;
  }

  // Where the reader is, as "messages[3].content".
  std::string place() const {
    std::string path = field_;
    for (size_t i = 0; i < open_.size() && i < kNamedDepth; ++i) {
      const JsonValue& value = open_[i];
      if (value.is(Kind::kArray)) {
        path += "[" + std::to_string(value.items.size()) + "]";
      } else if (value.keys.size() > value.items.size()) {
        path += (path.empty() ? "" : ".") + value.keys.back().substr(0, kNamedBytes);
      }
    }
    return path.empty() ? "the text" : path;
  }

  const std::string field_;
  const JsonBounds bounds_;
  size_t values_ = 0;
  std::vector<JsonValue> open_;  // arrays and objects that are not closed, the innermost last
  JsonValue root_;
  Error error_{FACET_OK, ""};
};

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  const auto found = std::find(keys.begin(), keys.end(), key);
  return found == keys.end() ? nullptr : &items[static_cast<size_t>(found - keys.begin())];
}

Result<JsonValue> parse_json(std::string_view text, std::string_view field, JsonBounds bounds) {
  Builder builder(field, bounds);
  json::sax_parse(text.begin(), text.end(), &builder);
  return std::move(builder).result();
}

void write_json_string(std::string_view text, std::string& out) {
  static constexpr char kDigits[] = "0123456789abcdef";
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') {
      (out += '\\') += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (static_cast<unsigned char>(c) < 0x20) {
      ((out += "\\u00") += kDigits[c >> 4]) += kDigits[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void write_json(const JsonValue& value, std::string& out) {
  switch (value.kind) {
    case Kind::kNull:
      out += "null";
      return;
    case Kind::kBoolean:
      out += value.boolean ? "true" : "false";
      return;
    case Kind::kNumber:
      out += value.text;
      return;
    case Kind::kString:
      write_json_string(value.text, out);
      return;
    case Kind::kArray:
    case Kind::kObject:
      break;
  }
  const bool object = value.is(Kind::kObject);
  out += object ? '{' : '[';
  for (size_t i = 0; i < value.items.size(); ++i) {
    if (i != 0) out += ',';
    if (object) {
      write_json_string(value.keys[i], out);
      out += ':';
    }
    write_json(value.items[i], out);
  }
  out += object ? '}' : ']';
}

}  // namespace facet::text
