// Lines from standard input: edited in a terminal, or read as they come.
//
// In a terminal a line has a prompt, can be edited, and earlier lines come back with the arrow keys
// (libedit). Without one there is no prompt.
#pragma once

#include <signal.h>

#include <memory>
#include <string>

namespace facet::cli {

struct Line {
  enum class Kind {
    text,
    end,          // of the input; Ctrl-D
    interrupted,  // Ctrl-C: what was typed is dropped
    terminated,   // SIGTERM
  };

  Kind kind = Kind::text;
  std::string text = {};  // without its end; any bytes
};

class LineReader {
 public:
  // Blocks the signals (interrupts.h). `edit`: standard input and output are a terminal.
  explicit LineReader(bool edit);
  ~LineReader();

  // Throws std::runtime_error if the input cannot be read, or has a line over kMaxInputBytes.
  Line next(const std::string& prompt);

 private:
  struct Editor;

  // Waits for input. kind: text, interrupted or terminated.
  Line::Kind wait();
  Line edited(const std::string& prompt);
  Line plain();

  int signals_;  // a signalfd
  std::unique_ptr<Editor> editor_;
  std::string ahead_;  // read, not yet given
};

}  // namespace facet::cli
