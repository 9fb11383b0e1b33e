// `facet chat` against a daemon of the test: through pipes, and in a terminal.
#include <doctest/doctest.h>
#include <poll.h>
#include <pty.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "tests/sdk/fake_daemon.h"
#include "tests/sdk/program.h"

using facet::test::FakeDaemon;
using facet::test::InputFile;
using facet::test::Peer;
using facet::test::Program;
using facet::test::run;
namespace protocol = facet::protocol;
using protocol::FinishReason;
using protocol::Role;

namespace {

// A daemon that answers chats one after the other as its script says, and keeps what it was asked.
class ChatDaemon {
 public:
  struct Event {
    std::string text;
    std::vector<protocol::Part> parts = {};
  };
  struct Answer {
    std::vector<Event> events = {};
    FinishReason reason = FinishReason::kStop;
    bool endless = false;  // until it is cancelled
    std::optional<protocol::Failed> failed = {};
  };

  explicit ChatDaemon(std::vector<Answer> answers)
      : answers_(std::move(answers)), daemon_([this](Peer& peer) { play(peer); }) {}

  const std::string& path() const { return daemon_.path(); }
  protocol::Generate request(size_t n) {
    std::lock_guard lock(mutex_);
    REQUIRE(n < requests_.size());
    return requests_[n];
  }
  protocol::Chat asked(size_t n) { return std::get<protocol::Chat>(request(n).prompt); }
  size_t requests() {
    std::lock_guard lock(mutex_);
    return requests_.size();
  }

 private:
  void play(Peer& peer) {
    peer.greet();
    for (Answer answer : answers_) {
      auto request = peer.next_of<protocol::Generate>();
      if (!request) return;
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(*request);
      }
      uint32_t n = 0;
      for (const Event& event : answer.events) {
        peer.send(protocol::Token{.id = request->id,
                                  .sequence = n,
                                  .token = n,
                                  .text = event.text,
                                  .alternatives = {},
                                  .parts = event.parts});
        ++n;
      }
      if (answer.failed) {
        answer.failed->id = request->id;
        peer.send(*answer.failed);
        continue;
      }
      if (answer.endless) {
        if (!peer.next_of<protocol::Cancel>()) return;
        answer.reason = FinishReason::kCancelled;
      }
      peer.send_finish(request->id, n, answer.reason);
    }
  }

  std::vector<Answer> answers_;
  std::mutex mutex_;
  std::vector<protocol::Generate> requests_;
  FakeDaemon daemon_;
};

const protocol::Part kThought = protocol::Thought{"let me see"};
const protocol::Part kCall = protocol::ToolCall{"call_0", "get", R"({"city":"Oslo"})"};

// facet in a terminal of its own.
class Terminal {
 public:
  Terminal(const std::string& socket, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {FACET_CLI, "--socket", socket});
    std::vector<char*> values;
    for (auto& argument : arguments) values.push_back(argument.data());
    values.push_back(nullptr);
    winsize size = {24, 200, 0, 0};
    process_ = forkpty(&screen_, nullptr, nullptr, &size);
    if (process_ == 0) {
      ::setenv("TERM", "xterm", 1);
      ::setenv("HOME", "/nonexistent", 1);
      ::execv(FACET_CLI, values.data());
      ::_exit(127);
    }
  }
  ~Terminal() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    ::close(screen_);
  }

  void type(std::string_view keys) {
    REQUIRE(::write(screen_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size()));
  }
  // Reads on until the screen was sent `text`, from where the last call left off. What came up to there.
  std::string until(const std::string& text) {
    size_t found;
    while ((found = seen_.find(text)) == std::string::npos) {
      REQUIRE_MESSAGE(read_more(), "the screen does not say '" << text << "' but '" << seen_ << "'");
    }
    std::string before = seen_.substr(0, found + text.size());
    seen_.erase(0, found + text.size());
    return before;
  }
  int end() {
    while (read_more()) {
    }
    REQUIRE_MESSAGE(closed_, "it does not end, and last said '" << seen_ << "'");
    int status = 0;
    ::waitpid(process_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  // False at the end, or when nothing comes for long.
  bool read_more() {
    pollfd wait = {screen_, POLLIN, 0};
    if (::poll(&wait, 1, 20000) <= 0) return false;
    char piece[4096];
    const ssize_t n = ::read(screen_, piece, sizeof piece);
    closed_ = n <= 0;
    if (!closed_) seen_.append(piece, static_cast<size_t>(n));
    return !closed_;
  }

  pid_t process_ = -1;
  int screen_ = -1;
  bool closed_ = false;
  std::string seen_;
};

}  // namespace

TEST_CASE("chat: each line is a message, and what was said goes along") {
  ChatDaemon daemon({{.events = {{"Hel"}, {"lo."}}}, {.events = {{"Four."}}}, {.events = {{"Again."}}}});
  InputFile input("Hi\n\n2+2?\n/think\n//think\n/nothing\n/quit\nnever said\n");
  const auto end =
      run(daemon.path(), {"chat", "--system", "Be terse.", "--model", "m", "-n", "9"}, input.path());
  CHECK(end.code == 0);
  CHECK(end.output == "Hello.\nFour.\nAgain.\n");
  CHECK(end.error.find("thinking is on") != std::string::npos);
  CHECK(end.error.find("there is no command /nothing") != std::string::npos);
  REQUIRE(daemon.requests() == 3);
  CHECK(daemon.request(0).model == "m");
  CHECK(daemon.request(0).max_tokens == 9);
  CHECK(daemon.request(0).priority == protocol::Priority::kInteractive);
  protocol::Chat chat;
  chat.messages = {{.role = Role::kSystem, .content = {{"Be terse."}}}, {.content = {{"Hi"}}}};
  CHECK(daemon.asked(0) == chat);
  chat.messages.push_back({.role = Role::kAssistant, .content = {{"Hello."}}});
  chat.messages.push_back({.content = {{"2+2?"}}});
  CHECK(daemon.asked(1) == chat);
  chat.messages.push_back({.role = Role::kAssistant, .content = {{"Four."}}});
  chat.messages.push_back({.content = {{"/think"}}});
  chat.thinking = true;
  CHECK(daemon.asked(2) == chat);
}

TEST_CASE("chat: /reset forgets what was said, but not the system message") {
  ChatDaemon daemon({{.events = {{"a"}}}, {.events = {{"b"}}}});
  InputFile input("one\n/reset\ntwo");
  CHECK(run(daemon.path(), {"chat", "--system", "s", "--think"}, input.path()).code == 0);
  protocol::Chat chat;
  chat.messages = {{.role = Role::kSystem, .content = {{"s"}}}, {.content = {{"two"}}}};
  chat.thinking = true;
  REQUIRE(daemon.requests() == 2);
  CHECK(daemon.asked(1) == chat);
}

TEST_CASE("chat: thoughts go to standard error, calls are printed, and the next line is what a call gives") {
  ChatDaemon daemon(
      {{.events = {{"", {kThought}}, {"I ask. "}, {"", {kCall}}, {"", {protocol::MalformedCall{"call:"}}}},
        .reason = FinishReason::kToolCalls},
       {.events = {{"3 degrees."}}}});
  InputFile tools("[{\"type\":\"function\",\"function\":{\"name\":\"get\"}}, {}]");
  InputFile input("Weather?\n{\"t\":3}\n");
  const auto end = run(daemon.path(), {"chat", "--tools", tools.path()}, input.path());
  CHECK(end.code == 0);
  CHECK(end.output == "I ask. \n[tool call] get {\"city\":\"Oslo\"}\n[malformed call] call:\n3 degrees.\n");
  CHECK(end.error == "let me see\n");
  REQUIRE(daemon.requests() == 2);
  protocol::Chat chat;
  chat.tools = {R"({"type":"function","function":{"name":"get"}})", "{}"};
  chat.messages = {{.content = {{"Weather?"}}}};
  CHECK(daemon.asked(0) == chat);
  chat.messages.push_back({.role = Role::kAssistant,
                           .content = {{"I ask. "}},
                           .thought = "let me see",
                           .tool_calls = {std::get<protocol::ToolCall>(kCall)}});
  chat.messages.push_back(
      {.role = Role::kTool, .content = {{"{\"t\":3}"}}, .tool_call_id = "call_0", .tool_name = "get"});
  CHECK(daemon.asked(1) == chat);
}

TEST_CASE("chat: --json gives a line per token with its parts, and one per finish") {
  ChatDaemon daemon({{.events = {{"a", {kThought, kCall, protocol::MalformedCall{"x"}}}},
                      .reason = FinishReason::kToolCalls}});
  InputFile input("Hi\n");
  const auto end = run(daemon.path(), {"chat", "--json"}, input.path());
  CHECK(end.code == 0);
  CHECK(
      end.output ==
      R"({"type":"token","sequence":0,"id":0,"text":"a","parts":[{"kind":"thought","text":"let me see"},)"
      R"({"kind":"tool_call","id":"call_0","name":"get","arguments":"{\"city\":\"Oslo\"}"},)"
      R"({"kind":"malformed_call","text":"x"}]})"
      "\n"
      R"({"type":"finish","reason":"tool_calls","text":"","usage":{"prompt_tokens":3,"generated_tokens":1,"cached_tokens":0},)"
      R"("timings_us":{"queued":10,"prompt":20000,"generate":300000}})"
      "\n");
}

TEST_CASE("chat: Ctrl-C ends an answer and not the chat; its text stays in what was said") {
  ChatDaemon daemon({{.events = {{"endless"}}, .endless = true}, {.events = {{"b"}}}});
  Program program(daemon.path(), {"chat"}, nullptr);
  program.write_input("one\n");
  CHECK(program.read_output(7) == "endless");
  program.interrupt();
  program.write_input("two\n");
  const auto end = program.end();
  CHECK(end.code == 0);
  CHECK(end.output == "\nb\n");
  REQUIRE(daemon.requests() == 2);
  REQUIRE(daemon.asked(1).messages.size() == 3);
  CHECK(daemon.asked(1).messages[1].content == std::vector<protocol::ContentPart>{{"endless"}});
}

TEST_CASE("chat: an interrupt while it waits for a line ends it without a terminal") {
  ChatDaemon daemon({{.events = {{"a"}}}});
  Program program(daemon.path(), {"chat"}, nullptr);
  program.write_input("one\n");
  CHECK(program.read_output(2) == "a\n");
  // The pipe stays open: only an interrupt can end it. One that comes as the answer ends still counts as the
  // answer's.
  while (!program.ended()) {
    program.interrupt();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  CHECK(program.exit_code() == 130);
}

TEST_CASE("chat: exit codes say what went wrong") {
  CHECK(run("/nonexistent/facet.sock", {"chat"}).code == 3);
  CHECK(run("/nonexistent/facet.sock", {"chat", "--tools", "/nonexistent/tools"}).code == 2);
  InputFile none("{}"), broken("[{"), deep("[" + std::string(100000, '[') + std::string(100000, ']') + "]");
  for (const auto* file : {&none, &broken, &deep}) {
    const auto end = run("/nonexistent/facet.sock", {"chat", "--tools", file->path()});
    CHECK(end.code == 2);
    CHECK(end.error.find(file->path()) != std::string::npos);
  }
  ChatDaemon refuses({{.failed = protocol::Failed{0, FACET_TOO_LARGE, "too long"}}, {.events = {{"never"}}}});
  InputFile input("one\ntwo\n");
  auto end = run(refuses.path(), {"chat"}, input.path());
  CHECK(end.code == 1);
  CHECK(end.error == "facet: too_large: too long\n");
  CHECK(refuses.requests() == 1);
  FakeDaemon old([](Peer& peer) {
    peer.greet({});
    (void)peer.next_of<protocol::Generate>();
  });
  end = run(old.path(), {"chat"}, input.path());
  CHECK(end.code == 1);
  CHECK(end.error.find("takes no chats") != std::string::npos);
}

TEST_CASE("chat: in a terminal lines are edited and recalled, and thoughts are dimmed") {
  ChatDaemon daemon({{.events = {{"", {kThought}}, {"Na \x1b[31mred"}}}, {.events = {{"b"}}}});
  Terminal terminal(daemon.path(), {"chat"});
  terminal.until("> ");
  terminal.type(
      "Gr\xC3\xB6\xC3\x9F"
      "x\x7f"
      "e\r");  // a mistake is rubbed out
  terminal.until("\x1b[2mlet me see\x1b[0m");
  // What the model writes cannot colour the terminal.
  terminal.until("Na \xEF\xBF\xBD[31mred");
  terminal.until("> ");
  terminal.type("\x1b[A!\r");  // the line before, with a mark
  terminal.until("b");
  terminal.until("> ");
  terminal.type("\x04");
  CHECK(terminal.end() == 0);
  REQUIRE(daemon.requests() == 2);
  CHECK(daemon.asked(0).messages[0].content == std::vector<protocol::ContentPart>{{"Größe"}});
  CHECK(daemon.asked(1).messages[2].content == std::vector<protocol::ContentPart>{{"Größe!"}});
}

TEST_CASE("chat: in a terminal Ctrl-C drops a line or ends an answer, and an error does not end the chat") {
  ChatDaemon daemon({{.events = {{"endless"}}, .endless = true},
                     {.failed = protocol::Failed{0, FACET_TOO_LARGE, "too long"}},
                     {.events = {{"", {kCall}}}, .reason = FinishReason::kToolCalls},
                     {.events = {{"fine"}}}});
  Terminal terminal(daemon.path(), {"chat"});
  terminal.until("> ");
  terminal.type("dropped\x03");
  terminal.until("> ");
  terminal.type("one\r");
  terminal.until("endless");
  terminal.type("\x03");
  terminal.until("> ");
  terminal.type("two\r");
  terminal.until("facet: too_large: too long");
  terminal.until("> ");
  terminal.type("three\r");
  terminal.until("get gives> ");
  terminal.type("\x03");
  terminal.until("> ");
  terminal.type("four\r");
  terminal.until("fine");
  terminal.until("> ");
  terminal.type("/quit\r");
  CHECK(terminal.end() == 0);
  REQUIRE(daemon.requests() == 4);
  CHECK(daemon.asked(0).messages[0].content == std::vector<protocol::ContentPart>{{"one"}});
  // The refused message is not part of what was said.
  REQUIRE(daemon.asked(2).messages.size() == 3);
  CHECK(daemon.asked(2).messages[2].content == std::vector<protocol::ContentPart>{{"three"}});
  CHECK(daemon.asked(3).messages.size() == 5);
}
