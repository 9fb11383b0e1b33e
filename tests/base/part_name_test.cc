#include "daemon/base/part_name.h"

#include <doctest/doctest.h>

using facet::part_name;

TEST_CASE("a part's name says which part it is and what the others are called") {
  auto name = part_name("/models/big-00002-of-00011.gguf");
  REQUIRE(name);
  CHECK(name->stem == "/models/big");
  CHECK(name->number == 2);
  CHECK(name->count == 11);
  CHECK(name->of(1) == "/models/big-00001-of-00011.gguf");
  CHECK(name->of(11) == "/models/big-00011-of-00011.gguf");
  CHECK(part_name("a-00001-of-00001.gguf"));
  CHECK(part_name("a-99999-of-99999.gguf")->count == 99999);
  CHECK(part_name("a-00001-of-00002-00003-of-00004.gguf")->stem == "a-00001-of-00002");
}

TEST_CASE("other names are no part's") {
  for (const char* path :
       {"", "a.gguf", "-00001-of-00002.gguf", "/models/-00001-of-00002.gguf", "a-0001-of-00002.gguf",
        "a-00001-of-0002.gguf", "a-00001-of-00002.bin", "a-00000-of-00002.gguf", "a-00003-of-00002.gguf",
        "a-00000-of-00000.gguf", "a_00001-of-00002.gguf", "a-0000x-of-00002.gguf", "a-00001-of-00002.gguf/",
        "a-00001-of-00002.ggufx", "a-000001-of-00002.gguf", "a-+0001-of-00002.gguf"}) {
    CAPTURE(path);
    CHECK_FALSE(part_name(path));
  }
}
