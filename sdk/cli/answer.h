// How an answer is shown by the commands that generate: as lines of JSON, and how fast it came.
#pragma once

#include <facet/client.hpp>
#include <string>

namespace facet::cli {

// A JSON object and a line end. `logprobs`: with the token's log-probabilities. `choices`: with the number of
// the choice that it belongs to.
std::string json_line(const client::Token& token, bool logprobs, bool choices = false);
// `rest`: what came with the end and belongs to no token, but for its choice.
std::string json_line(const client::Completion& answer, const client::Token& rest, bool choices = false);

// To standard error.
void print_stats(const client::Completion& answer);

}  // namespace facet::cli
