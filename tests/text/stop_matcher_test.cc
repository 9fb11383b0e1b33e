#include "daemon/text/stop_matcher.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

using facet::text::StopMatcher;
using Match = facet::text::StopMatcher::Match;

namespace {

StopMatcher matcher_of(const std::vector<std::string>& stops, Match match = Match::kExclude) {
  auto matcher = StopMatcher::create(stops, match);
  REQUIRE(matcher.ok());
  return std::move(matcher).value();
}

struct Outcome {
  std::string text;
  std::optional<size_t> which;
  bool operator==(const Outcome&) const = default;
};

// By looking at every end of a match in turn.
Outcome naive(const std::string& text, const std::vector<std::string>& stops, Match match) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<size_t> which;
    for (size_t i = 0; i < stops.size(); ++i) {
      const bool here = text.substr(0, end).ends_with(stops[i]);
      if (here && (!which || stops[i].size() > stops[*which].size())) which = i;
    }
    if (which) return {text.substr(0, match == Match::kInclude ? end : end - stops[*which].size()), which};
  }
  return {text, std::nullopt};
}

}  // namespace

TEST_CASE("a stop string across pieces ends the text before it") {
  StopMatcher matcher = matcher_of({"STOP"});
  std::string out;
  CHECK_FALSE(matcher.push("one S", out));
  CHECK(out == "one ");
  CHECK(matcher.held() == 1);
  CHECK_FALSE(matcher.push("TO", out));
  CHECK(out == "one ");
  CHECK(matcher.push("P two", out));
  CHECK(out == "one ");
  CHECK(matcher.which() == 0u);
  CHECK(matcher.push("three", out));
  matcher.finish(out);
  CHECK(out == "one ");
}

TEST_CASE("text that turns out to be no stop string is released") {
  StopMatcher matcher = matcher_of({"aab"});
  std::string out;
  matcher.push("aaa", out);
  CHECK(out == "a");
  matcher.push("c", out);
  CHECK(out == "aaac");
  matcher.push("xaa", out);
  CHECK(out == "aaacx");
  matcher.finish(out);
  CHECK(out == "aaacxaa");
  matcher.finish(out);
  CHECK(out == "aaacxaa");
}

TEST_CASE("the match may be kept, the longest of those that end together counts, the first end wins") {
  std::string out;
  StopMatcher kept = matcher_of({"\n\n"}, Match::kInclude);
  CHECK(kept.push("a\n\nb", out));
  CHECK(out == "a\n\n");

  out.clear();
  StopMatcher longest = matcher_of({"b", "xab", "ab"});
  CHECK(longest.push("yxab", out));
  CHECK(out == "y");
  CHECK(longest.which() == 1u);

  out.clear();
  StopMatcher first = matcher_of({"abcd", "bc"});
  CHECK(first.push("abcd", out));
  CHECK(out == "a");
  CHECK(first.which() == 1u);
}

TEST_CASE("without stop strings everything passes at once") {
  StopMatcher matcher = matcher_of({});
  std::string out;
  CHECK_FALSE(matcher.push("text", out));
  CHECK(out == "text");
  CHECK(matcher.held() == 0);
}

TEST_CASE("stop strings that cannot be served are refused by number") {
  auto refused = [](std::vector<std::string> stops, facet_status code, const char* part) {
    auto matcher = StopMatcher::create(stops);
    REQUIRE_FALSE(matcher.ok());
    CHECK(matcher.error().code == code);
    CHECK(matcher.error().message.find(part) != std::string::npos);
  };
  refused({"a", ""}, FACET_INVALID_ARGUMENT, "stop string 2 is empty");
  refused({"\xC3"}, FACET_INVALID_ARGUMENT, "stop string 1 is not UTF-8");
  refused({std::string(facet::text::kMaxStopBytes + 1, 'x')}, FACET_TOO_LARGE,
          "stop string 1 has 1025 bytes");
  refused(std::vector<std::string>(facet::text::kMaxStops + 1, "x"), FACET_TOO_LARGE, "65 stop strings");
  CHECK(StopMatcher::create(std::vector<std::string>(facet::text::kMaxStops, std::string(1024, 'x'))).ok());
}

TEST_CASE("any text, stop strings and cuts: the outcome of the naive search, never late, never early") {
  std::mt19937 random(3);
  const std::vector<std::string> letters = {"a", "b", "\xC3\xA9"};
  auto word = [&](size_t most) {
    std::string made;
    for (size_t i = 1 + random() % most; i > 0; --i) made += letters[random() % letters.size()];
    return made;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = random() % 4; i > 0; --i) stops.push_back(word(7));
    const std::string text = word(40);
    const Match match = random() % 2 ? Match::kInclude : Match::kExclude;
    const Outcome expected = naive(text, stops, match);

    StopMatcher matcher = matcher_of(stops, match);
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const size_t piece = random() % 6;
      matcher.push(std::string_view(text).substr(at, piece), out);
      at += std::min(piece, text.size() - at);
      REQUIRE(expected.text.starts_with(out));
      if (matcher.matched()) break;
      // What is held back is the beginning of a stop string, and everything else is out.
      REQUIRE(out.size() + matcher.held() == at);
      const std::string held = text.substr(out.size(), matcher.held());
      REQUIRE((held.empty() || std::any_of(stops.begin(), stops.end(),
                                           [&](const std::string& stop) { return stop.starts_with(held); })));
    }
    matcher.finish(out);
    REQUIRE(Outcome{out, matcher.which()} == expected);
  }
}

TEST_CASE("time is linear: a stop string of equal letters over a long run of them") {
  StopMatcher matcher = matcher_of({std::string(1023, 'a') + "b", std::string(1024, 'a')});
  std::string text;
  for (int i = 0; i < 2000; ++i) text += std::string(1022, 'a') + "c";
  std::string out;
  CHECK_FALSE(matcher.push(text, out));
  CHECK(out == text);
  CHECK(matcher.push(std::string(1024, 'a'), out));
  CHECK(out == text);
}
