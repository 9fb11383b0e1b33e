// Any bytes in any pieces through the UTF-8 stream and the stop matcher: what comes out is UTF-8, does not
// depend on the pieces, and holds no stop string.
#include <fuzzer/FuzzedDataProvider.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/text/stop_matcher.h"
#include "daemon/text/utf8.h"
#include "daemon/text/utf8_stream.h"

namespace {

using facet::text::StopMatcher;

void require(bool truth) {
  if (!truth) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  const auto match = input.ConsumeBool() ? StopMatcher::Match::kInclude : StopMatcher::Match::kExclude;
  std::vector<std::string> stops;
  for (int i = input.ConsumeIntegralInRange(0, 5); i > 0; --i)
    stops.push_back(input.ConsumeRandomLengthString(40));
  auto created = StopMatcher::create(stops, match);
  if (!created.ok()) return 0;

  StopMatcher matcher = *created;
  facet::text::Utf8Stream stream;
  std::string bytes;
  std::string characters;
  std::string out;
  while (input.remaining_bytes() > 0) {
    const std::string piece = input.ConsumeRandomLengthString(64);
    bytes += piece;
    const size_t before = characters.size();
    stream.push(piece, characters);
    require(characters.size() - before <= 3 * piece.size() + 3);
    matcher.push(std::string_view(characters).substr(before), out);
    require(matcher.matched() || out.size() + matcher.held() == characters.size());
    require(facet::text::is_utf8(out));
  }
  const size_t before = characters.size();
  stream.finish(characters);
  matcher.push(std::string_view(characters).substr(before), out);
  matcher.finish(out);

  StopMatcher again = *created;
  std::string characters_at_once;
  std::string out_at_once;
  stream.push(bytes, characters_at_once);
  stream.finish(characters_at_once);
  again.push(characters_at_once, out_at_once);
  again.finish(out_at_once);
  require(characters_at_once == characters);
  require(out_at_once == out);
  require(again.which() == matcher.which());
  require(characters.starts_with(out));
  if (!matcher.matched()) require(out == characters);
  if (matcher.matched() && match == StopMatcher::Match::kInclude)
    require(out.ends_with(stops[*matcher.which()]));
  if (match == StopMatcher::Match::kExclude || !matcher.matched()) {
    for (const std::string& stop : stops) require(out.find(stop) == std::string::npos);
  }
  return 0;
}
