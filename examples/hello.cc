// A first app: asks the daemon to complete a text and prints the answer as it comes.
#include <facet/client.hpp>
#include <iostream>

int main(int count, char** arguments) {
  auto client = facet::client::Client::connect();
  if (!client) return std::cerr << client.error().message << "\n", 1;
  auto answer =
      client->generate({.prompt = count > 1 ? arguments[1] : "The capital of France is", .max_tokens = 32},
                       [](const facet::client::Token& token) { std::cout << token.text << std::flush; });
  if (!answer) return std::cerr << answer.error().message << "\n", 1;
  std::cout << "\n";
}
