// Gemma 4's notation for the values of calls, responses and declarations.
//
//   {city:<|"|>Oslo<|"|>,days:[1,2.5],exact:true,note:null}
//
// is JSON with keys bare and in the order of the alphabet, and strings between two quote marks (kQuote) with
// nothing in them escaped. A string may hold any text: only the mark ends it. A *call* is "call:NAME{...}".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/text/chat.h"
#include "daemon/text/json_value.h"
#include "daemon/text/marked_text.h"

namespace facet::text {

// How the keys of objects are written.
enum class KeyStyle : uint8_t {
  kBare,      // always bare, also if they could not be read back
  kReadable,  // between quote marks if they could not be read back bare
  kQuoted,    // always between quote marks
};

// The members of an object in the order in which they are written: of their keys, with the capitals A to Z
// counting as small letters. Indices of `object.keys`.
std::vector<size_t> key_order(const JsonValue& object);

// A number of JSON as Python prints it: "1.0", "1e+16", "100000000000000000000".
std::string python_number(const std::string& digits);

void write_argument(const JsonValue& value, KeyStyle keys, MarkedText& out);
// What stands between the braces of an object.
void write_members(const JsonValue& object, KeyStyle keys, MarkedText& out);
void write_string(std::string_view text, MarkedText& out);

// Reads "call:NAME{...}", which may have white space around what it is made of and keys between quote marks.
// None stands for null too. The arguments come out as a JSON object, its keys in the order they were written.
// malformed for anything else, also for a value nested deeper than kMaxJsonDepth; takes time in proportion to
// the text.
Result<ToolCall> read_call(const MarkedText& call);

}  // namespace facet::text
