#include "sdk/cli/complete.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "sdk/cli/output.h"

namespace facet::cli {
namespace {

using Json = nlohmann::ordered_json;

// While it lives, SIGINT and SIGTERM are its thread's; the first requests a stop, the second ends the
// process.
class Interrupts {
 public:
  Interrupts() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    thread_ = std::thread([this] { wait(); });
  }
  ~Interrupts() {
    ended_ = true;
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

  std::stop_token stop() const { return stop_.get_token(); }

 private:
  void wait() {
    for (;;) {
      int signal = 0;
      sigwait(&signals_, &signal);
      if (ended_) return;
      if (!stop_.request_stop()) _exit(kCancelled);
    }
  }

  sigset_t signals_;
  std::stop_source stop_;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

Json alternatives_of(const client::Token& token) {
  Json list = Json::array();
  for (const auto& one : token.alternatives) list.push_back({{"id", one.token}, {"logprob", one.logprob}});
  return list;
}

Json line_of(const client::Token& token, const client::GenerateRequest& request) {
  Json line = {{"type", "token"}, {"sequence", token.sequence}, {"id", token.id}, {"text", token.text}};
  if (request.report_logprobs) {
    line["logprob"] = token.logprob;
    line["alternatives"] = alternatives_of(token);
  }
  return line;
}

// `rest`: text that belongs to no token.
Json line_of(const client::Completion& answer, const std::string& rest) {
  return {
      {"type", "finish"},
      {"reason", client::name_of(answer.reason)},
      {"text", rest},
      {"usage",
       {{"prompt_tokens", answer.usage.prompt_tokens}, {"generated_tokens", answer.usage.generated_tokens}}},
      {"timings_us",
       {{"queued", answer.timings.queued.count()},
        {"prompt", answer.timings.prompt.count()},
        {"generate", answer.timings.generate.count()}}}};
}

void print_stats(const client::Completion& answer) {
  auto seconds = [](std::chrono::microseconds time) { return std::chrono::duration<double>(time).count(); };
  auto rate = [](double count, double time) { return time > 0 ? count / time : 0; };
  const double prompt = seconds(answer.timings.prompt);
  const double generate = seconds(answer.timings.generate);
  const uint32_t generated = answer.usage.generated_tokens;
  // The first token's time is the prompt's.
  std::fprintf(
      stderr, "%u tokens at %.1f tokens/s; prompt of %u tokens at %.1f tokens/s; first token after %.0f ms\n",
      generated, rate(generated > 0 ? generated - 1 : 0, generate), answer.usage.prompt_tokens,
      rate(answer.usage.prompt_tokens, prompt), (seconds(answer.timings.queued) + prompt) * 1e3);
}

}  // namespace

int complete(client::Client& client, const CompleteOptions& options) {
  Interrupts interrupts;
  bool open = true;  // someone reads what we print
  std::string rest;
  auto on_token = [&](const client::Token& token) {
    if (!options.json) {
      open = print(token.text);
    } else if (token.id == client::Token::kNoId) {
      rest = token.text;
    } else {
      open = print(line_of(token, options.request).dump() + "\n");
    }
    return open;
  };
  auto answer = client.generate(options.request, on_token, interrupts.stop());
  if (!answer) {
    if (!options.json && open) print("\n");
    return fail(answer.error());
  }
  if (open) print(options.json ? line_of(*answer, rest).dump() + "\n" : "\n");
  if (options.stats) print_stats(*answer);
  return open && answer->reason == client::FinishReason::cancelled ? kCancelled : kDone;
}

}  // namespace facet::cli
