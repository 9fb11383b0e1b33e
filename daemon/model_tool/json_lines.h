// Lines of JSON: a request per line of standard input, an answer per line of standard output.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "daemon/base/result.h"

namespace facet::model_tool {

// A line has at most this many bytes; an escaped text of Tokenizer::kMaxTextBytes fits. An object is nested
// at most kMaxNesting deep.
inline constexpr size_t kMaxLineBytes = 32 << 20;
inline constexpr int kMaxNesting = 4;

// Calls `answer` with each line and prints what it returns, or {"error":"..."}, at once. Every line
// is answered by one line, also an empty one or one that is too long. Errors: io, if the input or the output
// fails.
Result<void> answer_lines(const std::function<Result<nlohmann::json>(const std::string& line)>& answer);

// The same with each line's object.
Result<void> answer_objects(const std::function<Result<nlohmann::json>(const nlohmann::json& line)>& answer);

}  // namespace facet::model_tool
