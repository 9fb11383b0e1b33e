// `facet complete`: one request, its answer to standard output as it comes; of several choices, in plain
// text, one after the other when all are whole.
#pragma once

#include <facet/client.hpp>
#include <string>

namespace facet::cli {

struct CompleteOptions {
  client::GenerateRequest request;
  uint32_t choices = 1;
  bool json = false;
  bool stats = false;
};

// A Ctrl-C (or SIGTERM) cancels the request (all choices) and awaits its finish; a second one ends the
// program. Gives the exit code.
int complete(client::Client& client, const CompleteOptions& options);

}  // namespace facet::cli
