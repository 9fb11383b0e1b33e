#include <algorithm>
#include <charconv>

#include "daemon/model_tool/commands.h"

namespace facet::model_tool {

Result<Ids> parse_ids(const std::string& text) {
  Ids ids;
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    text::Token id = 0;
    auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || (next != end && *next != ',')) {
      const std::string part(at, std::find(at, end, ','));
      return Error{FACET_INVALID_ARGUMENT, "\"" + part.substr(0, 32) + "\" in --ids is no id"};
    }
    ids.push_back(id);
    if (next == end) return ids;
    at = next + 1;
  }
}

}  // namespace facet::model_tool
