// JSON as a chat needs it: numbers stay as they were written, keys keep their order, and depth and size are
// bounded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/text/chat.h"

namespace facet::text {

struct JsonValue {
  enum class Kind : uint8_t { kNull, kBoolean, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  bool boolean = false;
  std::string text;               // of a string: its value; of a number: its digits as written
  std::vector<JsonValue> items;   // of an array; of an object: the values
  std::vector<std::string> keys;  // of an object: keys[i] belongs to items[i]; none is there twice

  bool is(Kind other) const { return kind == other; }
  // The value of a key of an object; null if it has none, or is no object.
  const JsonValue* find(std::string_view key) const;
};

struct JsonBounds {
  int depth = kMaxJsonDepth;   // of arrays and objects inside each other
  size_t values = 256 * 1024;  // each takes about a hundred bytes of memory
};

// Of a key that is there twice the last value counts. malformed for what is no JSON or not UTF-8, or for a
// number beyond a double; too_large beyond the bounds. The messages begin with the place, which begins with
// `field`: "tools[0].function.name ...".
Result<JsonValue> parse_json(std::string_view text, std::string_view field, JsonBounds bounds = {});

// Appends JSON text without spaces.
void write_json(const JsonValue& value, std::string& out);
// Appends a string in quotation marks, escaped.
void write_json_string(std::string_view text, std::string& out);

}  // namespace facet::text
