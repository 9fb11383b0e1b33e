#include "sdk/protocol/utf8.h"

#include <doctest/doctest.h>

using namespace facet::protocol;

TEST_CASE("utf8: characters of every length pass, in every place of a word") {
  for (std::string_view character : {"a", "\xC2\x80", "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF",
                                     "\xEF\xBF\xBF", "\xF0\x90\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    for (size_t before = 0; before < 17; ++before) {
      CHECK(is_utf8(std::string(before, 'x') + std::string(character) + "yz"));
    }
  }
  CHECK(is_utf8(""));
  CHECK(is_utf8(std::string_view("a\0b", 3)));
}

TEST_CASE("utf8: what is no character is refused, in every place of a word") {
  for (std::string_view wrong : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                                 "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3",
                                 "\xE2\x82", "\xF0\x9F\x99", "\xC3(", "\xE2\x28\xA1"}) {
    for (size_t before = 0; before < 17; ++before) {
      CHECK_FALSE(is_utf8(std::string(before, 'x') + std::string(wrong)));
      CHECK_FALSE(is_utf8(std::string(before, 'x') + std::string(wrong) + "yz"));
    }
  }
}

TEST_CASE("utf8: anything can be made fit to show") {
  CHECK(to_utf8("plain", 100) == "plain");
  CHECK(to_utf8("a\xFFz", 100) == "a\xEF\xBF\xBDz");
  CHECK(to_utf8("Gr\xC3\xB6\xC3\x9F", 5) == "Gr\xC3\xB6");  // cut before the character that does not fit
  CHECK(to_utf8("\xFF\xFF", 4) == "\xEF\xBF\xBD");
}
