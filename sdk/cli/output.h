// What the program's end says, and standard output that may close early.
#pragma once

#include <facet/client.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace facet::cli {

// The exit codes, as --help lists them.
enum Exit { kDone = 0, kFailed = 1, kUsage = 2, kUnreachable = 3, kCancelled = 130 };

extern const char kExitHelp[];

// Writes to standard output at once. False when nobody reads it any more, which is no error.
bool print(std::string_view text);

// "1.2 s": tenths, upwards.
std::string in_seconds(std::chrono::milliseconds time);

// Says on standard error why a call failed; gives the exit code.
int fail(const client::Error& error);
// The same for an answer that its deadline cut short.
int fail_deadline();

}  // namespace facet::cli
