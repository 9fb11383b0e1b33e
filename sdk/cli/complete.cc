#include "sdk/cli/complete.h"

#include "sdk/cli/answer.h"
#include "sdk/cli/interrupts.h"
#include "sdk/cli/output.h"

namespace facet::cli {

int complete(client::Client& client, const CompleteOptions& options) {
  Interrupts interrupts;
  bool open = true;  // someone reads what we print
  client::Token rest;
  auto on_token = [&](const client::Token& token) {
    if (!options.json) {
      open = print(token.text);
    } else if (token.id == client::Token::kNoId) {
      rest = token;
    } else {
      open = print(json_line(token, options.request.report_logprobs));
    }
    return open;
  };
  auto answer = client.generate(options.request, on_token, interrupts.stop());
  if (!answer) {
    if (!options.json && open) print("\n");
    return fail(answer.error());
  }
  if (open) print(options.json ? json_line(*answer, rest) : "\n");
  if (options.stats) print_stats(*answer);
  if (open && answer->reason == client::FinishReason::deadline) return fail_deadline();
  return open && answer->reason == client::FinishReason::cancelled ? kCancelled : kDone;
}

}  // namespace facet::cli
