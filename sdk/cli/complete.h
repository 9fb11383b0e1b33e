// `facet complete`: one request, its answer to standard output as it comes.
#pragma once

#include <facet/client.hpp>
#include <string>

namespace facet::cli {

struct CompleteOptions {
  client::GenerateRequest request;
  bool json = false;
  bool stats = false;
};

// A Ctrl-C (or SIGTERM) cancels the request and awaits its finish; a second one ends the program. Gives the
// exit code.
int complete(client::Client& client, const CompleteOptions& options);

}  // namespace facet::cli
