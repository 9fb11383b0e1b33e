// How an answer is shown by the commands that generate: as lines of JSON, and how fast it came.
#pragma once

#include <facet/client.hpp>
#include <string>

namespace facet::cli {

// A JSON object and a line end. `logprobs`: with the token's log-probabilities.
std::string json_line(const client::Token& token, bool logprobs);
// `rest`: what came with the end and belongs to no token.
std::string json_line(const client::Completion& answer, const client::Token& rest);

// To standard error.
void print_stats(const client::Completion& answer);

}  // namespace facet::cli
