#include "sdk/cli/line_reader.h"

#include <histedit.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cwchar>
#include <stdexcept>
#include <utility>

#include "sdk/cli/input.h"
#include "sdk/cli/interrupts.h"

namespace facet::cli {
namespace {

constexpr int kHistoryLines = 1000;

[[noreturn]] void unreadable(const char* why) {
  throw std::runtime_error(std::string("standard input: ") + why);
}

}  // namespace

// What libedit keeps, and what its callbacks need.
struct LineReader::Editor {
  explicit Editor(LineReader& owner) : reader(owner) {
    // libedit reads characters of the locale: in one of single bytes it could not read UTF-8.
    std::setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) std::setlocale(LC_CTYPE, "C.UTF-8");
    edit = el_init("facet", stdin, stdout, stderr);
    past = history_init();
    if (!edit || !past) throw std::runtime_error("the line editor does not start");
    HistEvent event;
    history(past, &event, H_SETSIZE, kHistoryLines);
    history(past, &event, H_SETUNIQUE, 1);
    el_set(edit, EL_CLIENTDATA, this);
    el_set(edit, EL_PROMPT, &Editor::prompt_of);
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_SIGNAL, 1);  // of stopping, going on and a changed window
    el_set(edit, EL_HIST, history, past);
    el_set(edit, EL_GETCFN, &Editor::next_character);
    el_source(edit, nullptr);
  }
  ~Editor() {
    history_end(past);
    el_end(edit);
  }

  static Editor& of(EditLine* edit) {
    void* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }
  static char* prompt_of(EditLine* edit) { return of(edit).prompt.data(); }

  // 1, or 0 at the end of the input, or -1 for what `stopped` says.
  static int next_character(EditLine* edit, wchar_t* to) {
    Editor& self = of(edit);
    std::mbstate_t state = {};
    for (;;) {
      const Line::Kind kind = self.reader.wait();
      if (kind != Line::Kind::text) {
        self.stopped = kind;
        return -1;
      }
      char byte;
      const ssize_t n = ::read(STDIN_FILENO, &byte, 1);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return 0;
      const size_t used = std::mbrtowc(to, &byte, 1, &state);
      if (used == static_cast<size_t>(-2)) continue;  // more bytes to come
      if (used != static_cast<size_t>(-1)) return 1;
      state = {};  // no character: the byte is left out
    }
  }

  LineReader& reader;
  EditLine* edit = nullptr;
  History* past = nullptr;
  std::string prompt;
  Line::Kind stopped = Line::Kind::text;
};

LineReader::LineReader(bool edit) {
  const sigset_t signals = block_signals();
  signals_ = ::signalfd(-1, &signals, SFD_CLOEXEC);
  if (signals_ < 0) throw std::runtime_error(std::string("signalfd: ") + std::strerror(errno));
  if (edit) editor_ = std::make_unique<Editor>(*this);
}

LineReader::~LineReader() {
  ::close(signals_);
}

Line LineReader::next(const std::string& prompt) {
  return editor_ ? edited(prompt) : plain();
}

Line::Kind LineReader::wait() {
  pollfd waits[2] = {{STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}};
  while (::poll(waits, 2, -1) < 0) {
    if (errno != EINTR) unreadable(std::strerror(errno));
    if (editor_) el_set(editor_->edit, EL_REFRESH);  // the process was stopped, or the window changed
  }
  if (!(waits[1].revents & POLLIN)) return Line::Kind::text;
  signalfd_siginfo info = {};
  if (::read(signals_, &info, sizeof info) != static_cast<ssize_t>(sizeof info)) unreadable("signalfd");
  return info.ssi_signo == SIGTERM ? Line::Kind::terminated : Line::Kind::interrupted;
}

Line LineReader::edited(const std::string& prompt) {
  editor_->prompt = prompt;
  editor_->stopped = Line::Kind::text;
  int count = 0;
  el_resize(editor_->edit);
  // Before the prompt shows: a Ctrl-D that answers it must not meet the terminal's own line discipline.
  el_set(editor_->edit, EL_PREP_TERM, 1);
  const char* line = el_gets(editor_->edit, &count);
  if (editor_->stopped != Line::Kind::text) {
    std::fputs("\n", stdout);
    std::fflush(stdout);
    return {.kind = editor_->stopped};
  }
  if (!line || count <= 0) return {.kind = Line::Kind::end};
  std::string text = line;
  if (!text.empty() && text.back() == '\n') text.pop_back();
  HistEvent event;
  if (!text.empty()) history(editor_->past, &event, H_ENTER, text.c_str());
  return {.text = std::move(text)};
}

Line LineReader::plain() {
  size_t looked_at = 0;
  for (;;) {
    const size_t end = ahead_.find('\n', looked_at);
    if (end != std::string::npos) {
      Line line{.text = ahead_.substr(0, end)};
      ahead_.erase(0, end + 1);
      return line;
    }
    if (ahead_.size() > kMaxInputBytes) unreadable("a line is longer than a prompt may be");
    looked_at = ahead_.size();
    if (const Line::Kind kind = wait(); kind != Line::Kind::text) return {.kind = kind};
    char piece[4096];
    const ssize_t n = ::read(STDIN_FILENO, piece, sizeof piece);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) unreadable(std::strerror(errno));
    if (n == 0) {
      if (ahead_.empty()) return {.kind = Line::Kind::end};
      return {.text = std::exchange(ahead_, {})};
    }
    ahead_.append(piece, static_cast<size_t>(n));
  }
}

}  // namespace facet::cli
