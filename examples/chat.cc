// A conversation with a tool: the model may ask for the time, and this app tells it.
#include <ctime>
#include <facet/client.hpp>
#include <iostream>
#include <string>

namespace {

using namespace facet::client;

const char kClock[] =
    R"({"type":"function","function":{"name":"now","description":"The time of day.",
        "parameters":{"type":"object","properties":{}}}})";

void show(const Token& token) {
  std::cout << token.text << std::flush;
  for (const Part& part : token.parts) {
    if (part.kind == Part::Kind::thought) std::cerr << part.text;
    if (part.kind == Part::Kind::malformed_call) std::cerr << "[malformed call] " << part.text << "\n";
  }
}

Message result_of(const ToolCall& call) {
  char time[32] = "";
  const std::time_t now = std::time(nullptr);
  std::strftime(time, sizeof time, "%H:%M", std::localtime(&now));
  return {.role = Role::tool,
          .content = call.name == "now" ? time : "there is no such tool",
          .tool_call_id = call.id,
          .tool_name = call.name};
}

}  // namespace

int main() {
  auto client = Client::connect();
  if (!client) return std::cerr << client.error().message << "\n", 1;
  Chat chat{.messages = {{.role = Role::system, .content = "Be brief."}}, .tools = {kClock}};
  for (std::string line; std::getline(std::cin, line);) {
    chat.messages.push_back({.content = line});
    for (bool waits = true; waits;) {
      auto answer = client->generate({.prompt = chat, .max_tokens = 512}, show);
      if (!answer) return std::cerr << answer.error().message << "\n", 1;
      chat.messages.push_back(message_of(*answer));
      waits = answer->reason == FinishReason::tool_calls;
      for (const ToolCall& call : answer->tool_calls) chat.messages.push_back(result_of(call));
    }
    std::cout << "\n";
  }
}
