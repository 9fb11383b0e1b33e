// `facet chat`: a conversation, line by line.
#pragma once

#include <facet/client.hpp>
#include <string>
#include <vector>

namespace facet::cli {

struct ChatOptions {
  client::GenerateRequest request;  // the prompt is the conversation
  client::Chat chat;                // what it begins with
  bool json = false;
  bool stats = false;
};

// The declarations in a file that holds them as an array of JSON objects. Throws CLI::ParseError, which
// names the file.
std::vector<std::string> read_tools(const std::string& path);

// Each line is a message; those that begin with / are commands (/help). The model's answers go to standard
// output. If it calls tools, the next lines are what the calls give, in their order.
//
// In a terminal lines are edited, thoughts are shown dimmed, and an error ends the chat only if the
// connection is lost. Without one, thoughts go to standard error and the first error ends the chat. A Ctrl-C
// (or SIGTERM) while an answer comes cancels it, and the chat goes on after Ctrl-C; a second one ends the
// program. Gives the exit code.
int chat(client::Client& client, const ChatOptions& options);

}  // namespace facet::cli
