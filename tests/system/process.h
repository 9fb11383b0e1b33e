// Programs of the build as child processes of a test, and facetd among them, each in a folder of its own.
#pragma once

#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "daemon/base/unique_fd.h"
#include "tests/system/client.h"

namespace facet::test {

// Whether it comes true within half a minute.
template <typename Condition>
bool comes_true(Condition condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/facet-system-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A socket that listens at `path`, as systemd makes it for a service.
inline UniqueFd listening_socket(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  REQUIRE(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(socket.get(), 16) == 0);
  return socket;
}

// Is killed with its owner.
class Process {
 public:
  Process() = default;
  // `words`: a program of the build and its arguments. `handed`: descriptor 3 of the process, handed over as
  // systemd does; -1 for none. Standard error goes to the file `log` if there is a name.
  explicit Process(std::vector<std::string> words, int handed = -1, const std::string& log = "") {
    words[0] = FACET_BINARIES "/" + words[0];
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    if (!log.empty()) ::dup2(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), 2);
    if (handed == 3) {
      ::fcntl(3, F_SETFD, 0);
    } else if (handed >= 0) {
      ::dup2(handed, 3);
    }
    if (handed >= 0) {
      ::setenv("LISTEN_FDS", "1", 1);
      ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    }
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Process& operator=(Process&& other) noexcept {
    if (this != &other) {
      kill();
      pid_ = std::exchange(other.pid_, 0);
    }
    return *this;
  }
  ~Process() { kill(); }

  pid_t pid() const { return pid_; }
  void signal(int number) { ::kill(pid_, number); }
  void kill() {
    if (pid_ <= 0) return;
    signal(SIGKILL);
    wait();
  }
  // The exit status; -1 if a signal ended it.
  int wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  int terminate() {
    signal(SIGTERM);
    return wait();
  }

 private:
  pid_t pid_ = 0;
};

// facetd on a socket of its own, with no models but those of `arguments`.
class Daemon {
 public:
  explicit Daemon(const std::vector<std::string>& arguments) {
    std::vector<std::string> words = {"facetd", "--socket", socket(), "--models", folder_ / ""};
    if (std::find(arguments.begin(), arguments.end(), "--config") == arguments.end()) {
      words.insert(words.end(), {"--config", "/dev/null"});
    }
    words.insert(words.end(), arguments.begin(), arguments.end());
    process_ = Process(words, -1, folder_ / "log");
    REQUIRE_MESSAGE(comes_true([&] { return Client().connect(socket()); }), log());
  }

  std::string socket() const { return folder_ / "s"; }
  Process& process() { return process_; }
  Client client(const std::string& app = "test") const {
    Client one;
    REQUIRE(one.connect(socket()));
    one.greet(app);
    return one;
  }
  // What it has logged so far.
  std::string log() const {
    std::ifstream file(folder_ / "log");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool logs(const std::string& text) const {
    return comes_true([&] { return log().find(text) != std::string::npos; });
  }
  // Of the engine that it started; 0 if there is none.
  pid_t engine() const {
    const std::string pid = std::to_string(process_.pid());
    std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
    pid_t child = 0;
    children >> child;
    return child;
  }

 private:
  Folder folder_;
  Process process_;
};

// Greedy, with ids that any test model has.
inline protocol::Generate request(uint64_t id, uint32_t first, uint32_t tokens) {
  protocol::Generate generate;
  generate.id = id;
  generate.prompt = protocol::TokenIds{2, first, first + 7, 5};
  generate.max_tokens = tokens;
  generate.ignore_end = true;
  generate.sampling.temperature = 0;
  return generate;
}

// The ids of one whole answer; checks order and end.
inline std::vector<uint32_t> answer_of(Client& client, uint64_t id) {
  std::vector<uint32_t> ids;
  for (;;) {
    auto message = client.receive();
    if (auto* token = std::get_if<protocol::Token>(&message)) {
      CHECK(token->id == id);
      CHECK(token->sequence == ids.size());
      ids.push_back(token->token);
      continue;
    }
    auto* failed = std::get_if<protocol::Failed>(&message);
    REQUIRE_MESSAGE(std::holds_alternative<protocol::Finish>(message),
                    (failed ? failed->message : "no finish"));
    CHECK(std::get<protocol::Finish>(message).usage.generated_tokens == ids.size());
    return ids;
  }
}

}  // namespace facet::test
