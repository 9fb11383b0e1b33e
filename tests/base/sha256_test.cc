#include "daemon/base/sha256.h"

#include <doctest/doctest.h>

namespace facet {

TEST_CASE("SHA-256 of the standard's examples and of every length of the last block") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  std::string digests;
  for (size_t length = 50; length < 130; ++length) digests += sha256(std::string(length, 'x'));
  CHECK(sha256(digests) == "2ec97c2d09bbb24d089634028e976a912a09970e315a5f6648ae238686fa0638");
}

}  // namespace facet
