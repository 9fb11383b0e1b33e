// facet: the command line of the daemon's clients.
#include <signal.h>
#include <facet/client.hpp>

#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <map>
#include <string>

#include "sdk/cli/chat.h"
#include "sdk/cli/complete.h"
#include "sdk/cli/input.h"
#include "sdk/cli/output.h"
#include "sdk/cli/sampling_flags.h"
#include "sdk/cli/show.h"

namespace {

using facet::cli::ChatOptions;
using facet::cli::CompleteOptions;
using facet::client::Client;
using facet::client::GenerateRequest;
using facet::client::Priority;

// What stands in the flags, as they need to be put together.
struct Arguments {
  facet::client::ConnectOptions connect;
  CompleteOptions complete;
  ChatOptions chat;
  std::string system;
  std::string tools;
  std::string prompt;
  facet::client::TokenIds ids;
  bool json = false;
};

// What every command that generates can be told.
void add_request(CLI::App& app, GenerateRequest& request) {
  app.add_option("--model", request.model, "a model's name (facet models); the daemon's default without it");
  app.add_option("-n,--max-tokens", request.max_tokens,
                 "at most so many tokens; 0: until the context is full");
  facet::cli::add_sampling_flags(app, request.sampling);
  app.add_option("--stop", request.stop, "end before this text (may be given again)")
      ->allow_extra_args(false)
      ->take_all();
  app.add_option("--logprobs", request.logprobs,
                 "with --json: report log-probabilities and N alternatives per token")
      ->each([&request](const std::string&) { request.report_logprobs = true; });
  const std::map<std::string, Priority> priorities = {{"interactive", Priority::interactive},
                                                      {"standard", Priority::standard},
                                                      {"background", Priority::background}};
  app.add_option("--priority", request.priority, "interactive, standard or background")
      ->transform(CLI::CheckedTransformer(priorities).description(""));
  app.add_option_function<double>(
         "--deadline",
         [&request](double seconds) {
           if (!(seconds >= 0.001 && seconds <= 86400)) {
             throw CLI::ValidationError("--deadline", "takes 0.001 to 86400 seconds");
           }
           request.deadline = std::chrono::milliseconds(std::llround(seconds * 1000));
         },
         "end after so long, refuse at once what cannot begin to answer by then")
      ->type_name("SECONDS");
}

void add_complete(CLI::App& app, Arguments& arguments) {
  auto& request = arguments.complete.request;
  auto* prompt =
      app.add_option("prompt", arguments.prompt, "the text to go on from; - reads it from standard input");
  auto* ids = app.add_option("--ids", arguments.ids, "the prompt as token ids, 2,3,4")->delimiter(',');
  prompt->excludes(ids);
  add_request(app, request);
  app.add_flag("--special", request.parse_special, "control tokens written in the prompt are control tokens");
  app.add_option("--choices", arguments.complete.choices,
                 "so many answers, with the seeds seed, seed + 1, ...")
      ->check(CLI::Range(1u, 64u))
      ->capture_default_str();
  app.add_flag("--ignore-end", request.ignore_end, "go on after end tokens");
  app.add_flag("--json", arguments.complete.json, "a JSON object per token, then one with the finish");
  app.add_flag("--stats", arguments.complete.stats, "tokens per second, on standard error");
  app.footer(facet::cli::kExitHelp);
}

void add_chat(CLI::App& app, Arguments& arguments) {
  app.add_option("--system", arguments.system, "what the model is told before the first message");
  app.add_option("--tools", arguments.tools,
                 "a file with what the model may call: a JSON array of {\"type\":\"function\",...}");
  app.add_flag("--think", arguments.chat.chat.thinking, "let the model think before it answers");
  arguments.chat.request.priority = Priority::interactive;
  add_request(app, arguments.chat.request);
  app.add_flag("--json", arguments.chat.json, "a JSON object per token, then one with each finish");
  app.add_flag("--stats", arguments.chat.stats, "tokens per second, on standard error");
  app.footer(facet::cli::kExitHelp);
}

// What a chat begins with, as the flags give it.
void begin_chat(Arguments& arguments) {
  auto& chat = arguments.chat.chat;
  if (!arguments.system.empty()) {
    chat.messages.push_back({.role = facet::client::Role::system, .content = arguments.system});
  }
  if (!arguments.tools.empty()) chat.tools = facet::cli::read_tools(arguments.tools);
}

// The prompt as the flags give it. False: there is none.
bool take_prompt(Arguments& arguments, bool has_prompt) {
  auto& prompt = arguments.complete.request.prompt;
  if (!arguments.ids.empty()) {
    prompt = std::move(arguments.ids);
  } else if (!has_prompt) {
    return false;
  } else if (arguments.prompt == "-") {
    prompt = facet::cli::read_input();
  } else {
    prompt = std::move(arguments.prompt);
  }
  return true;
}

int run(int count, char** values) {
  Arguments arguments;
  CLI::App app("Asks the Facet daemon.", "facet");
  app.footer(facet::cli::kExitHelp);
  app.require_subcommand(1);
  app.fallthrough();
  app.add_option("--socket", arguments.connect.socket,
                 "the daemon's socket; without it $FACET_SOCKET, the user's, the system's");
  auto* complete = app.add_subcommand("complete", "completes a text, token by token");
  add_complete(*complete, arguments);
  auto* chat = app.add_subcommand("chat", "talks with a model, line by line");
  add_chat(*chat, arguments);
  auto* models = app.add_subcommand("models", "lists the models");
  models->add_flag("--json", arguments.json, "as JSON");
  auto* status = app.add_subcommand("status", "shows what the daemon does");
  status->add_flag("--json", arguments.json, "as JSON");

  try {
    app.parse(count, values);
    if (complete->parsed() && !take_prompt(arguments, complete->count("prompt") > 0)) {
      throw CLI::RequiredError("PROMPT or --ids");
    }
    if (chat->parsed()) begin_chat(arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? facet::cli::kDone : facet::cli::kUsage;
  }

  signal(SIGPIPE, SIG_IGN);
  auto client = Client::connect(arguments.connect);
  if (!client) return facet::cli::fail(client.error());
  if (complete->parsed()) return facet::cli::complete(*client, arguments.complete);
  if (chat->parsed()) return facet::cli::chat(*client, arguments.chat);
  return models->parsed() ? facet::cli::show_models(*client, arguments.json)
                          : facet::cli::show_status(*client, arguments.json);
}

}  // namespace

int main(int count, char** values) {
  try {
    return run(count, values);
  } catch (const std::exception& error) {
    std::cerr << "facet: " << error.what() << "\n";
    return facet::cli::kFailed;
  }
}
