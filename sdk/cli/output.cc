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

int fail_deadline() {
  return fail({FACET_DEADLINE, "it passed before the answer's end"});
}

int fail(const client::Error& error) {
  std::string later;
  if (error.retry_after.count() > 0) {
    // In tenths of a second, upwards.
    const auto tenths = std::to_string((error.retry_after.count() + 99) / 100);
    const std::string whole = tenths.size() > 1 ? tenths.substr(0, tenths.size() - 1) : "0";
    later = "; try again in " + whole + "." + tenths.back() + " s";
  }
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
