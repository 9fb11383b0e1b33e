#include "sdk/cli/chat.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "sdk/cli/answer.h"
#include "sdk/cli/chat_display.h"
#include "sdk/cli/interrupts.h"
#include "sdk/cli/line_reader.h"
#include "sdk/cli/output.h"

namespace facet::cli {
namespace {

using client::FinishReason;
using client::Role;

constexpr char kHelp[] =
    "/think   switch thinking on or off\n"
    "/reset   forget what was said\n"
    "/help    this list\n"
    "/quit    end the chat, as Ctrl-D does\n"
    "//TEXT   say /TEXT\n"
    "Ctrl-C stops an answer.\n";

// Nothing, for as long as the conversation goes on; else the exit code.
using Ending = std::optional<int>;

class Conversation {
 public:
  Conversation(client::Client& client, const ChatOptions& options)
      : client_(client),
        options_(options),
        terminal_(!options.json && ::isatty(STDIN_FILENO) && ::isatty(STDOUT_FILENO)),
        lines_(terminal_),
        chat_(options.chat) {}

  int run();

 private:
  Ending take(Line line);
  Ending command(const std::string& text);
  Ending say(std::string text);
  Ending take_results(const client::Completion& answer, bool& complete);
  // `ending`: what a signal makes of it.
  client::Result<client::Completion> generate(Ending& ending);
  Ending failed(const client::Error& error) const;
  void note(const std::string& text) const { std::fputs(text.c_str(), stderr); }

  client::Client& client_;
  const ChatOptions& options_;
  const bool terminal_;
  LineReader lines_;
  client::Chat chat_;
  bool open_ = true;  // someone reads what we print
};

int Conversation::run() {
  if (terminal_) note("Ctrl-D ends the chat, Ctrl-C an answer; /help lists the commands.\n");
  for (;;) {
    if (const Ending ending = take(lines_.next("> "))) {
      if (terminal_) print("\n");
      return *ending;
    }
  }
}

Ending Conversation::take(Line line) {
  switch (line.kind) {
    case Line::Kind::end:
      return kDone;
    case Line::Kind::terminated:
      return kCancelled;
    case Line::Kind::interrupted:
      return terminal_ ? Ending() : kCancelled;
    case Line::Kind::text:
      break;
  }
  if (line.text.find_first_not_of(" \t\r") == std::string::npos) return {};
  if (line.text.starts_with("//")) return say(line.text.substr(1));
  if (line.text.starts_with("/")) return command(line.text);
  return say(std::move(line.text));
}

Ending Conversation::command(const std::string& text) {
  if (text == "/quit") return kDone;
  if (text == "/think") {
    chat_.thinking = !chat_.thinking;
    note(chat_.thinking ? "thinking is on\n" : "thinking is off\n");
  } else if (text == "/reset") {
    chat_.messages = options_.chat.messages;
    note("nothing was said\n");
  } else {
    if (text != "/help") note("there is no command " + text + "\n");
    note(kHelp);
  }
  return {};
}

// One message of the user and all answers up to the one that waits for no tool.
Ending Conversation::say(std::string text) {
  size_t keep = chat_.messages.size();  // so much stays if the answer comes to nothing
  chat_.messages.push_back({.content = std::move(text)});
  for (;;) {
    Ending ending;
    auto answer = generate(ending);
    if (!answer) {
      chat_.messages.resize(keep);
      return failed(answer.error());
    }
    if (!open_) return kDone;
    if (ending) return ending;
    if (answer->text.empty() && answer->tool_calls.empty()) {
      chat_.messages.resize(keep);
      return {};
    }
    chat_.messages.push_back(message_of(*answer));
    keep = chat_.messages.size();
    if (answer->reason != FinishReason::tool_calls) return {};
    bool complete = true;
    if (const Ending ending = take_results(*answer, complete)) return ending;
    if (!complete) return {};
  }
}

// `complete` becomes false if the user would rather not say what the calls give.
Ending Conversation::take_results(const client::Completion& answer, bool& complete) {
  for (const auto& call : answer.tool_calls) {
    Line line = lines_.next(call.name + " gives> ");
    if (line.kind == Line::Kind::interrupted && terminal_) {
      complete = false;
      return {};
    }
    if (line.kind != Line::Kind::text) return take(std::move(line));
    chat_.messages.push_back({.role = Role::tool,
                              .content = std::move(line.text),
                              .tool_call_id = call.id,
                              .tool_name = call.name});
  }
  return {};
}

client::Result<client::Completion> Conversation::generate(Ending& ending) {
  Interrupts interrupts;
  client::GenerateRequest request = options_.request;
  request.prompt = chat_;
  ChatDisplay display(terminal_);
  client::Token rest;
  auto on_token = [&](const client::Token& token) {
    if (!options_.json) {
      open_ = display.show(token);
    } else if (token.id == client::Token::kNoId) {
      rest = token;
    } else {
      open_ = print(json_line(token, request.report_logprobs));
    }
    return open_;
  };
  auto answer = client_.generate(request, on_token, interrupts.stop());
  if (open_ && !options_.json) open_ = display.end();
  if (answer && open_ && options_.json) open_ = print(json_line(*answer, rest));
  if (answer && answer->reason == FinishReason::deadline) fail_deadline();
  if (answer && options_.stats) print_stats(*answer);
  interrupts.end();
  // A Ctrl-C that came too late for the answer counts as one after it.
  const bool late = interrupts.stop().stop_requested() && answer && answer->reason != FinishReason::cancelled;
  if (interrupts.terminated() || (late && !terminal_)) ending = kCancelled;
  return answer;
}

Ending Conversation::failed(const client::Error& error) const {
  const int code = fail(error);
  return terminal_ && code == kFailed ? Ending() : code;
}

}  // namespace

std::vector<std::string> read_tools(const std::string& path) {
  // What is nested deeper is refused here: no daemon takes it, and writing it again would take as much stack.
  constexpr int kMaxDepth = 256;
  std::ifstream file(path);
  if (!file) throw CLI::ValidationError("--tools", path + " cannot be read");
  try {
    auto shallow = [&](int depth, nlohmann::ordered_json::parse_event_t, nlohmann::ordered_json&) {
      if (depth > kMaxDepth) throw CLI::ValidationError("--tools", path + " is nested too deep");
      return true;
    };
    const auto list = nlohmann::ordered_json::parse(file, shallow);
    if (!list.is_array()) throw CLI::ValidationError("--tools", path + " holds no array of declarations");
    std::vector<std::string> tools;
    for (const auto& tool : list) tools.push_back(tool.dump());
    return tools;
  } catch (const nlohmann::json::exception& error) {
    throw CLI::ValidationError("--tools", path + ": " + error.what());
  }
}

int chat(client::Client& client, const ChatOptions& options) {
  return Conversation(client, options).run();
}

}  // namespace facet::cli
