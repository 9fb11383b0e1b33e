#include "daemon/model_tool/json_lines.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

namespace facet::model_tool {
namespace {

using nlohmann::json;

enum class Line { kRead, kTooLong, kEnd };

// The next line without its end. Of one that is too long only the beginning is kept.
Line read_line(std::string& line) {
  line.clear();
  bool any = false, too_long = false;
  for (int byte = getc_unlocked(stdin); byte != EOF; byte = getc_unlocked(stdin)) {
    any = true;
    if (byte == '\n') break;
    if (line.size() < kMaxLineBytes) {
      line.push_back(static_cast<char>(byte));
    } else {
      too_long = true;
    }
  }
  if (!any) return Line::kEnd;
  return too_long ? Line::kTooLong : Line::kRead;
}

Result<json> parse(const std::string& line) {
  bool too_deep = false;
  const auto guard = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kMaxNesting;
    return !too_deep;
  };
  json value;
  try {
    value = json::parse(line, guard);
  } catch (const json::parse_error& error) {
    return Error{FACET_MALFORMED, "the line is no JSON: byte " + std::to_string(error.byte)};
  }
  if (too_deep) return Error{FACET_MALFORMED, "the line is nested too deep"};
  if (!value.is_object()) return Error{FACET_MALFORMED, "the line is no JSON object"};
  return value;
}

}  // namespace

Result<void> answer_lines(const std::function<Result<json>(const std::string& line)>& answer) {
  std::string line;
  for (Line read = read_line(line); read != Line::kEnd; read = read_line(line)) {
    Result<json> reply =
        read == Line::kTooLong
            ? Error{FACET_TOO_LARGE, "the line is longer than " + std::to_string(kMaxLineBytes) + " bytes"}
            : answer(line);
    if (!reply.ok()) reply = json{{"error", reply.error().message}};
    std::string text = reply->dump(-1, ' ', false, json::error_handler_t::replace);
    text.push_back('\n');
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
      return Error{FACET_IO, "standard output: the write failed"};
    }
  }
  if (std::ferror(stdin)) return Error{FACET_IO, "standard input: the read failed"};
  return {};
}

Result<void> answer_objects(const std::function<Result<json>(const json& line)>& answer) {
  return answer_lines([&](const std::string& line) -> Result<json> {
    FACET_TRY(const json object, parse(line));
    return answer(object);
  });
}

}  // namespace facet::model_tool
