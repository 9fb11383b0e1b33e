#include "sdk/cli/complete.h"

#include <algorithm>
#include <vector>

#include "sdk/cli/answer.h"
#include "sdk/cli/interrupts.h"
#include "sdk/cli/output.h"

namespace facet::cli {
namespace {

// What is printed when all answers are whole.
std::string text_of(const std::vector<client::Completion>& answers) {
  if (answers.size() == 1) return "\n";
  std::string text;
  for (size_t i = 0; i < answers.size(); ++i) {
    text += "[choice " + std::to_string(i + 1) + "]\n" + answers[i].text + "\n";
  }
  return text;
}

std::string json_of(const std::vector<client::Completion>& answers, const std::vector<client::Token>& rests) {
  std::string text;
  for (size_t i = 0; i < answers.size(); ++i) text += json_line(answers[i], rests[i], answers.size() > 1);
  return text;
}

}  // namespace

int complete(client::Client& client, const CompleteOptions& options) {
  Interrupts interrupts;
  const bool several = options.choices > 1;
  bool open = true;  // someone reads what we print
  std::vector<client::Token> rests(options.choices);
  for (uint32_t i = 0; i < options.choices; ++i) rests[i].choice = i;
  auto on_token = [&](const client::Token& token) {
    if (options.json && token.id == client::Token::kNoId) {
      rests[token.choice] = token;
    } else if (options.json) {
      open = print(json_line(token, options.request.report_logprobs, several));
    } else if (!several) {
      open = print(token.text);
    }
    return open;
  };
  const auto answers = client.generate_choices(options.request, options.choices, on_token, interrupts.stop());
  if (!answers) {
    if (!options.json && !several && open) print("\n");
    return fail(answers.error());
  }
  if (open) print(options.json ? json_of(*answers, rests) : text_of(*answers));
  if (options.stats) {
    for (const auto& answer : *answers) print_stats(answer);
  }
  const auto ended = [&](client::FinishReason reason) {
    return std::any_of(answers->begin(), answers->end(),
                       [&](const auto& answer) { return answer.reason == reason; });
  };
  if (open && ended(client::FinishReason::deadline)) return fail_deadline();
  return open && ended(client::FinishReason::cancelled) ? kCancelled : kDone;
}

}  // namespace facet::cli
