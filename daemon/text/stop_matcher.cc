#include "daemon/text/stop_matcher.h"

#include <algorithm>

#include "daemon/text/utf8.h"

namespace facet::text {

namespace {

// How much of `bytes` is seen after `next`, if `seen` of it, less than all, was before.
uint32_t advance(const std::string& bytes, const std::vector<uint32_t>& fallback, uint32_t seen, char next) {
  while (seen > 0 && bytes[seen] != next) seen = fallback[seen - 1];
  return bytes[seen] == next ? seen + 1 : 0;
}

}  // namespace

Result<StopMatcher> StopMatcher::create(const std::vector<std::string>& stops, Match match) {
  if (stops.size() > kMaxStops) {
    return Error{FACET_TOO_LARGE,
                 std::to_string(stops.size()) + " stop strings; at most " + std::to_string(kMaxStops)};
  }
  StopMatcher matcher;
  matcher.match_ = match;
  for (const std::string& bytes : stops) {
    const std::string name = "stop string " + std::to_string(matcher.stops_.size() + 1);
    if (bytes.empty()) return Error{FACET_INVALID_ARGUMENT, name + " is empty"};
    if (bytes.size() > kMaxStopBytes) {
      return Error{FACET_TOO_LARGE, name + " has " + std::to_string(bytes.size()) + " bytes; at most " +
                                        std::to_string(kMaxStopBytes)};
    }
    if (!is_utf8(bytes)) return Error{FACET_INVALID_ARGUMENT, name + " is not UTF-8"};
    std::vector<uint32_t> fallback(bytes.size());
    for (size_t i = 1; i < bytes.size(); ++i)
      fallback[i] = advance(bytes, fallback, fallback[i - 1], bytes[i]);
    matcher.stops_.push_back({bytes, std::move(fallback)});
  }
  return matcher;
}

size_t StopMatcher::held() const {
  if (matched()) return 0;
  uint32_t most = 0;
  for (const Stop& stop : stops_) most = std::max(most, stop.seen);
  return most;
}

bool StopMatcher::push(std::string_view text, std::string& out) {
  if (matched()) return true;
  // What was held back goes first; then as much is taken off the end as is held back now.
  append_held(out);
  for (size_t i = 0; i < text.size() && !matched(); ++i) {
    uint32_t longest = 0;
    for (size_t index = 0; index < stops_.size(); ++index) {
      Stop& stop = stops_[index];
      stop.seen = advance(stop.bytes, stop.fallback, stop.seen, text[i]);
      if (stop.seen == stop.bytes.size() && stop.seen > longest) {
        longest = stop.seen;
        matched_ = index;
      }
    }
    if (matched()) text = text.substr(0, i + 1);
  }
  out.append(text);
  const size_t back = matched() ? (match_ == Match::kExclude ? stops_[*matched_].bytes.size() : 0) : held();
  out.resize(out.size() - back);
  return matched();
}

void StopMatcher::finish(std::string& out) {
  append_held(out);
  for (Stop& stop : stops_) stop.seen = 0;
}

void StopMatcher::append_held(std::string& out) const {
  const size_t size = held();
  const auto longest =
      std::find_if(stops_.begin(), stops_.end(), [&](const Stop& stop) { return stop.seen == size; });
  if (longest != stops_.end()) out.append(longest->bytes, 0, size);
}

}  // namespace facet::text
