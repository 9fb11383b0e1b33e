#include "daemon/base/log.h"

#include <doctest/doctest.h>

TEST_CASE("a message stays one line, whatever it quotes") {
  CHECK(facet::log::one_line("peer \"a\n<3>forged\x1b[2J\t\x7f\" left") == "peer \"a <3>forged [2J  \" left");
  CHECK(facet::log::one_line("naïve 日本") == "naïve 日本");
}
