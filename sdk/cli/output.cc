#include "sdk/cli/output.h"

#include <cstdio>
#include <string>

namespace facet::cli {

const char kExitHelp[] =
    "Exit codes: 0 done, 1 the daemon or the model refused or failed, 2 wrong usage, 3 the daemon is not\n"
    "reachable or the connection was lost, 130 cancelled (Ctrl-C).\n";

bool print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  return std::fflush(stdout) == 0 && !std::ferror(stdout);
}

std::string in_seconds(std::chrono::milliseconds time) {
  const auto tenths = (time.count() + 99) / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

int fail_deadline() {
  return fail({FACET_DEADLINE, "it passed before the answer's end"});
}

int fail(const client::Error& error) {
  const std::string later =
      error.retry_after.count() > 0 ? "; try again in " + in_seconds(error.retry_after) : "";
  std::fprintf(stderr, "facet: %s: %s%s\n", facet_status_name(error.code), error.message.c_str(),
               later.c_str());
  switch (error.code) {
    case FACET_UNAVAILABLE:
    case FACET_DENIED:
    case FACET_TIMEOUT:
      return kUnreachable;
    case FACET_CANCELLED:
      return kCancelled;
    default:
      return kFailed;
  }
}

}  // namespace facet::cli
