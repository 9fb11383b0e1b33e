#include "daemon/text/utf8_stream.h"

#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "daemon/text/utf8.h"

using facet::text::Utf8Stream;

namespace {

std::string whole(std::string_view bytes) {
  Utf8Stream stream;
  std::string out;
  stream.push(bytes, out);
  stream.finish(out);
  return out;
}

}  // namespace

TEST_CASE("a character comes out with its last byte") {
  Utf8Stream stream;
  const std::string face = "\xF0\x9F\x98\x80";
  for (size_t i = 0; i < face.size(); ++i) {
    std::string out;
    stream.push(face.substr(i, 1), out);
    CHECK(out == (i + 1 < face.size() ? "" : face));
  }
  std::string out;
  stream.finish(out);
  CHECK(out.empty());
}

TEST_CASE("text that is UTF-8 passes unchanged") {
  for (const char* text :
       {"", "plain", "\xC3\xA9t\xC3\xA9", "\xE2\x82\xAC", "\xED\x9F\xBF\xEE\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    CHECK(whole(text) == text);
  }
  CHECK(whole(std::string("a\0b", 3)) == std::string("a\0b", 3));
}

TEST_CASE("what is not UTF-8 becomes one U+FFFD for each broken beginning") {
  const std::string r = "\xEF\xBF\xBD";
  CHECK(whole("\x80") == r);
  CHECK(whole("a\xFFz") == "a" + r + "z");
  CHECK(whole("\xC0\x80") == r + r);                           // overlong
  CHECK(whole("\xED\xA0\x80") == r + r + r);                   // a surrogate
  CHECK(whole("\xF4\x90\x80\x80") == r + r + r + r);           // above U+10FFFF
  CHECK(whole("\xE2\x82") == r);                               // cut off by the end
  CHECK(whole("\xF0\x9F\x98z") == r + "z");                    // cut off by another character
  CHECK(whole("\xF0\x9F\xE2\x82\xAC") == r + "\xE2\x82\xAC");  // cut off by a longer one
  // The Unicode standard's own example (section 3.9, table 3-11).
  CHECK(whole("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64") ==
        "a" + r + r + r + "b" + r + "c" + r + r + "d");
}

TEST_CASE("after finish the stream is as new") {
  Utf8Stream stream;
  std::string out;
  stream.push("\xE2\x82", out);
  stream.finish(out);
  stream.push("\xAC", out);
  CHECK(out == "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST_CASE("no cut of any bytes changes what comes out, and it is always UTF-8") {
  std::mt19937 random(1);
  // Bytes around the edges of the table of well-formed sequences, drawn so that whole and broken characters
  // are common.
  const std::string alphabet = "a\x80\x8F\x90\x9F\xA0\xBF\xC1\xC2\xDF\xE0\xE1\xED\xEF\xF0\xF1\xF4\xF5";
  for (int round = 0; round < 20000; ++round) {
    std::string bytes;
    for (size_t i = random() % 24; i > 0; --i) bytes += alphabet[random() % alphabet.size()];
    const std::string expected = whole(bytes);
    CHECK(facet::text::is_utf8(expected));

    Utf8Stream stream;
    std::string out;
    for (size_t at = 0; at < bytes.size();) {
      const size_t piece = random() % 5;
      stream.push(std::string_view(bytes).substr(at, piece), out);
      at += std::min(piece, bytes.size() - at);
      REQUIRE(facet::text::is_utf8(out));
    }
    stream.finish(out);
    REQUIRE(out == expected);
  }
}
