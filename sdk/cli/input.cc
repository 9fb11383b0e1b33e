#include "sdk/cli/input.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstring>

namespace facet::cli {

std::string read_input() {
  std::string text;
  char piece[64 << 10];
  for (;;) {
    const ssize_t n = ::read(STDIN_FILENO, piece, sizeof piece);
    if (n == 0) return text;
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw CLI::FileError(std::string("standard input: ") + std::strerror(errno));
    text.append(piece, static_cast<size_t>(n));
    if (text.size() > kMaxInputBytes) {
      throw CLI::FileError("standard input: longer than the " + std::to_string(kMaxInputBytes) +
                           " bytes that a prompt may have");
    }
  }
}

}  // namespace facet::cli
