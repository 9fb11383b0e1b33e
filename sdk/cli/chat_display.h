// What `facet chat` shows of an answer while it comes.
#pragma once

#include <facet/client.hpp>
#include <string_view>

namespace facet::cli {

// `terminal`: thoughts are dimmed, and control characters that a model writes cannot command the terminal.
// Without one, thoughts go to standard error.
class ChatDisplay {
 public:
  explicit ChatDisplay(bool terminal) : terminal_(terminal) {}

  // False when nobody reads standard output any more.
  bool show(const client::Token& token);
  // The answer is over: the next thing to be printed begins a line.
  bool end();

 private:
  enum class Mode { line_start, text, thought };

  void enter(Mode mode);
  void show(const client::Part& part);
  void write(std::string_view text);

  const bool terminal_;
  Mode mode_ = Mode::line_start;
  bool open_ = true;
};

}  // namespace facet::cli
