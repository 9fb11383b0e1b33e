// SHA-256 (FIPS 180-4): names a known text by its digest. HMAC (RFC 2104) with it: nobody without the key can
// tell or make the digest.
#pragma once

#include <string>
#include <string_view>

namespace facet {

// 64 hexadecimal digits, small letters.
std::string sha256(std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view bytes);

}  // namespace facet
