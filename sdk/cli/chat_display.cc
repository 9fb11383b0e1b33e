#include "sdk/cli/chat_display.h"

#include <cstdio>
#include <string>

#include "sdk/cli/output.h"

namespace facet::cli {
namespace {

constexpr char kDim[] = "\x1b[2m";
constexpr char kPlain[] = "\x1b[0m";
constexpr char kReplacement[] = "\xEF\xBF\xBD";

// Control characters but line ends and tabs, as U+FFFD: C0, DEL, and C1 (U+0080 to U+009F).
std::string without_controls(std::string_view text) {
  std::string to;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (c1 || byte == 0x7F || (byte < 0x20 && byte != '\n' && byte != '\t')) {
      to += kReplacement;
      if (c1) ++i;
    } else {
      to += text[i];
    }
  }
  return to;
}

}  // namespace

bool ChatDisplay::show(const client::Token& token) {
  if (!token.text.empty()) {
    enter(Mode::text);
    write(token.text);
  }
  for (const auto& part : token.parts) show(part);
  return open_;
}

bool ChatDisplay::end() {
  enter(Mode::line_start);
  return open_;
}

void ChatDisplay::show(const client::Part& part) {
  switch (part.kind) {
    case client::Part::Kind::thought:
      enter(Mode::thought);
      if (terminal_) {
        write(part.text);
      } else {
        std::fputs(part.text.c_str(), stderr);
      }
      break;
    case client::Part::Kind::tool_call:
      enter(Mode::line_start);
      write("[tool call] " + part.call.name + " " + part.call.arguments + "\n");
      break;
    case client::Part::Kind::malformed_call:
      enter(Mode::line_start);
      write("[malformed call] " + part.text + "\n");
      break;
  }
}

// Between kinds of text there is a line end.
void ChatDisplay::enter(Mode mode) {
  if (mode == mode_) return;
  if (mode_ == Mode::thought) {
    if (terminal_) {
      open_ = print(std::string(kPlain) + "\n");
    } else {
      std::fputs("\n", stderr);
    }
  } else if (mode_ == Mode::text) {
    open_ = print("\n");
  }
  if (mode == Mode::thought && terminal_) open_ = print(kDim);
  mode_ = mode;
}

void ChatDisplay::write(std::string_view text) {
  open_ = print(terminal_ ? without_controls(text) : std::string(text));
}

}  // namespace facet::cli
