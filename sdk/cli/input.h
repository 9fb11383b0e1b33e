// Standard input as a prompt.
#pragma once

#include <cstddef>
#include <string>

namespace facet::cli {

// What no daemon would take: more than a message of the protocol may hold.
constexpr size_t kMaxInputBytes = 4 << 20;

// All of standard input. Throws CLI::ParseError if it cannot be read or is longer than kMaxInputBytes, of
// which no more is read.
std::string read_input();

}  // namespace facet::cli
