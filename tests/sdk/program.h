// The program facet as a child process of a test, with its input and output.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

extern char** environ;

namespace facet::test {

class Program {
 public:
  // `input`: the file that is its standard input; nullptr: a pipe for write_input().
  Program(const std::string& socket, std::vector<std::string> arguments, const char* input = "/dev/null") {
    arguments.insert(arguments.begin(), {FACET_CLI, "--socket", socket});
    std::vector<char*> values;
    values.reserve(arguments.size() + 1);
    for (auto& argument : arguments) values.push_back(argument.data());
    values.push_back(nullptr);
    REQUIRE(pipe2(out_, O_CLOEXEC) == 0);
    REQUIRE(pipe2(error_, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (input) {
      posix_spawn_file_actions_addopen(&actions, 0, input, O_RDONLY, 0);
    } else {
      REQUIRE(pipe2(in_, O_CLOEXEC) == 0);
      posix_spawn_file_actions_adddup2(&actions, in_[0], 0);
    }
    posix_spawn_file_actions_adddup2(&actions, out_[1], 1);
    posix_spawn_file_actions_adddup2(&actions, error_[1], 2);
    REQUIRE(posix_spawn(&process_, FACET_CLI, &actions, nullptr, values.data(), environ) == 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out_[1]);
    close(error_[1]);
    if (!input) close(in_[0]);
  }
  ~Program() {
    close_input();
    close_output();
    close(error_[0]);
  }

  // Reads until the output holds so many bytes.
  std::string read_output(size_t bytes) { return read(out_[0], bytes); }
  void close_output() {
    if (out_[0] >= 0) close(std::exchange(out_[0], -1));
  }
  void write_input(std::string_view text) {
    REQUIRE(::write(in_[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  }
  void close_input() {
    if (in_[1] >= 0) close(std::exchange(in_[1], -1));
  }
  void interrupt() { kill(process_, SIGINT); }

  // Whether exit_code() would not have to wait.
  bool ended() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(process_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == process_;
  }
  // Waits for its end; -1: by a signal. With its input open and its output unread.
  int exit_code() {
    int status = 0;
    waitpid(process_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  struct End {
    int code;  // of exit_code()
    std::string output, error;
  };
  End end() {
    End end;
    close_input();
    if (out_[0] >= 0) end.output = read(out_[0], SIZE_MAX);
    end.error = read(error_[0], SIZE_MAX);
    end.code = exit_code();
    return end;
  }

 private:
  static std::string read(int descriptor, size_t bytes) {
    std::string text;
    char piece[4096];
    while (text.size() < bytes) {
      ssize_t n = ::read(descriptor, piece, std::min(sizeof piece, bytes - text.size()));
      if (n <= 0) break;
      text.append(piece, static_cast<size_t>(n));
    }
    return text;
  }

  pid_t process_ = 0;
  int in_[2] = {-1, -1};
  int out_[2];
  int error_[2];
};

inline Program::End run(const std::string& socket, std::vector<std::string> arguments,
                        const char* input = "/dev/null") {
  return Program(socket, std::move(arguments), input).end();
}

// A file that holds `bytes`.
class InputFile {
 public:
  explicit InputFile(std::string_view bytes) : descriptor_(mkstemp(path_)) {
    REQUIRE(descriptor_ >= 0);
    REQUIRE(write(descriptor_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~InputFile() {
    close(descriptor_);
    unlink(path_);
  }

  const char* path() const { return path_; }

 private:
  char path_[32] = "/tmp/facet-input-XXXXXX";
  int descriptor_;
};

}  // namespace facet::test
