#include "daemon/text/chat_template.h"

#include <algorithm>
#include <iterator>

#include "daemon/base/sha256.h"

namespace facet::text {
namespace {

constexpr std::string_view kRevisions[] = {
    // Gemma 3.
    "7de1c58e208eda46e9c7f86397df37ec49883aeece39fb961e0a6b24088dd3c4",
    // Gemma 4: 12B, 26B-A4B and 31B, the first and those of 2026-04, 2026-05 and 2026-07-09.
    "2dfbfc7d538912f4ea11d29d85b4e25d7bc26386e53f57529f1d707c28b5828c",
    "85a08664d16d8f3be4416c92427b3ac10df1024ac566cc0b4bc3bab409393f98",
    "94899c0f917d93f6fe81c95744d1e8ddab2d21d39228d2e4aec1fb2a25bff413",
    "ae53464bf3be25802b3a5b37def7fd89667067d7577049b3b2d74c4d8de4c6d4",
    // Gemma 4: E2B and E4B, of 2026-04, 2026-05 and 2026-07-09.
    "781d10940fbc44be40064b5d43a056fc486c84ceaa55538226368b57314132bf",
    "33204f1acb5bd0002713e16a593847f24ceeafe711ed88bda2a352dc996a3373",
    "0a2c8073c878ab1da004bee933a998606537bbb62016310352c7285c3f01c5b5",
};

}  // namespace

bool known_template(std::string_view chat_template) {
  return std::find(std::begin(kRevisions), std::end(kRevisions), sha256(chat_template)) !=
         std::end(kRevisions);
}

}  // namespace facet::text
