#include "daemon/text/tool_syntax.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace facet::text {
namespace {

using Kind = JsonValue::Kind;

constexpr std::string_view kSpace = " \t\r\n";

char small(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// The shortest digits that give the same double, with an exponent below 1e-4 and from 1e16 on.
std::string float_as_python(const std::string& digits) {
  double value = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (parsed.ec != std::errc()) value = digits.starts_with('-') ? -0.0 : 0.0;  // too small for a double
  const double size = std::abs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  char buffer[64];
  const auto written = std::to_chars(buffer, buffer + sizeof buffer, value,
                                     plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string text(buffer, written.ptr);
  if (plain && text.find('.') == text.npos) text += ".0";
  return text;
}

// Whether a bare key is read back as what it is.
bool reads_back(std::string_view key) {
  return !key.empty() && key.find_first_of(":,{}[]") == key.npos && kSpace.find(key.front()) == kSpace.npos &&
         kSpace.find(key.back()) == kSpace.npos;
}

}  // namespace

std::string python_number(const std::string& digits) {
  return digits.find_first_of(".eE") == digits.npos ? digits : float_as_python(digits);
}

std::vector<size_t> key_order(const JsonValue& object) {
  std::vector<size_t> order(object.keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return std::lexicographical_compare(object.keys[a].begin(), object.keys[a].end(), object.keys[b].begin(),
                                        object.keys[b].end(), [](char x, char y) {
                                          return static_cast<unsigned char>(small(x)) <
                                                 static_cast<unsigned char>(small(y));
                                        });
  });
  return order;
}

void write_string(std::string_view text, MarkedText& out) {
  out.add(Mark::kQuote);
  out.add(text);
  out.add(Mark::kQuote);
}

void write_members(const JsonValue& object, KeyStyle keys, MarkedText& out) {
  bool first = true;
  for (size_t i : key_order(object)) {
    if (!first) out.add(",");
    first = false;
    const std::string& key = object.keys[i];
    if (keys == KeyStyle::kQuoted || (keys == KeyStyle::kReadable && !reads_back(key))) {
      write_string(key, out);
    } else {
      out.add(key);
    }
    out.add(":");
    write_argument(object.items[i], keys, out);
  }
}

void write_argument(const JsonValue& value, KeyStyle keys, MarkedText& out) {
  switch (value.kind) {
    case Kind::kNull:
      out.add("null");
      return;
    case Kind::kBoolean:
      out.add(value.boolean ? "true" : "false");
      return;
    case Kind::kNumber:
      out.add(python_number(value.text));
      return;
    case Kind::kString:
      write_string(value.text, out);
      return;
    case Kind::kArray:
      out.add("[");
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i != 0) out.add(",");
        write_argument(value.items[i], keys, out);
      }
      out.add("]");
      return;
    case Kind::kObject:
      out.add("{");
      write_members(value, keys, out);
      out.add("}");
      return;
  }
}

namespace {

// Whether `word` is a number as parse_json() takes it.
bool is_number(std::string_view word) {
  const bool begins = !word.empty() && (word[0] == '-' || (word[0] >= '0' && word[0] <= '9'));
  return begins && parse_json(word, "").ok();
}

// Reads the notation from front to back and writes JSON. Each function returns whether it found what it
// reads.
class CallReader {
 public:
  explicit CallReader(const MarkedText& call)
      : text_(call.text()), marks_(call.marks()), quote_(mark_name(call.family(), Mark::kQuote)) {}

  bool read(ToolCall& call) {
    skip_space();
    if (!take("call:")) return false;
    const std::string_view name = plain_until("{");
    if (!check_tool_name(name, "").ok()) return false;
    call.name = name;
    skip_space();
    if (!object(call.arguments, 1)) return false;
    skip_space();
    return at_ == text_.size();
  }

 private:
  bool at_mark() const { return next_mark_ < marks_.size() && marks_[next_mark_].at == at_; }
  // Where the next mark begins, or the end.
  size_t plain_end() const { return next_mark_ < marks_.size() ? marks_[next_mark_].at : text_.size(); }

  void skip_space() {
    while (at_ < plain_end() && kSpace.find(text_[at_]) != kSpace.npos) ++at_;
  }

  bool take(std::string_view word) {
    if (!text_.substr(at_, plain_end() - at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  bool take_quote() {
    if (!at_mark() || marks_[next_mark_].mark != Mark::kQuote) return false;
    ++next_mark_;
    at_ += quote_.size();
    return true;
  }

  // Plain text before the next of the characters `ends`, which must come before a mark; without white space
  // at its end. Empty if there is none.
  std::string_view plain_until(std::string_view ends) {
    const std::string_view rest = text_.substr(at_, plain_end() - at_);
    const size_t length = rest.find_first_of(ends);
    if (length == rest.npos) return {};
    at_ += length;
    const size_t last = rest.substr(0, length).find_last_not_of(kSpace);
    return rest.substr(0, last == rest.npos ? 0 : last + 1);
  }

  // After the first quote mark.
  bool string(std::string& out) {
    const std::string_view content = text_.substr(at_, plain_end() - at_);
    at_ = plain_end();
    if (!take_quote()) return false;
    write_json_string(content, out);
    return true;
  }

  bool key(std::string& out) {
    if (take_quote()) return string(out);
    const std::string_view bare = plain_until(":,{}[]");
    if (bare.empty()) return false;
    write_json_string(bare, out);
    return true;
  }

  bool word(std::string& out) {
    const std::string_view bare = plain_until(",]}");
    if (bare == "None" || bare == "null") {
      out += "null";
      return true;
    }
    if (bare != "true" && bare != "false" && !is_number(bare)) return false;
    out += bare;
    return true;
  }

  bool value(std::string& out, int depth) {
    if (++values_ >= JsonBounds().values) return false;
    skip_space();
    if (take_quote()) return string(out);
    if (at_mark() || at_ == text_.size()) return false;
    if (text_[at_] == '{') return object(out, depth + 1);
    if (text_[at_] == '[') return array(out, depth + 1);
    return word(out);
  }

  bool object(std::string& out, int depth) {
    return list("{", "}", depth, out, [&] {
      if (!key(out)) return false;
      skip_space();
      out += ':';
      return take(":") && value(out, depth);
    });
  }

  bool array(std::string& out, int depth) {
    return list("[", "]", depth, out, [&] { return value(out, depth); });
  }

  template <typename Element>
  bool list(std::string_view open, std::string_view close, int depth, std::string& out, Element element) {
    if (depth > kMaxJsonDepth || !take(open)) return false;
    out += open;
    skip_space();
    for (bool first = true; !take(close); first = false) {
      if (!first) {
        if (!take(",")) return false;
        out += ',';
        skip_space();
      }
      if (!element()) return false;
      skip_space();
    }
    out += close;
    return true;
  }

  const std::string_view text_;
  const std::span<const PlacedMark> marks_;
  const std::string_view quote_;
  size_t at_ = 0;
  size_t next_mark_ = 0;
  size_t values_ = 0;
};

}  // namespace

Result<ToolCall> read_call(const MarkedText& call) {
  ToolCall read;
  if (!CallReader(call).read(read)) return Error{FACET_MALFORMED, "the call is not \"call:NAME{...}\""};
  return read;
}

}  // namespace facet::text
