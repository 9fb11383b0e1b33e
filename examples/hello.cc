// A first app: asks the daemon to complete a text and prints the answer as it comes.
#include <facet/client.hpp>
#include <iostream>

int main() {
  auto client = facet::client::Client::connect();
  if (!client) return std::cerr << client.error().message << "\n", 1;
  auto answer = client->generate({.prompt = "The capital of France is", .max_tokens = 32},
                                 [](auto& token) { std::cout << token.text << std::flush; });
  if (!answer) return std::cerr << answer.error().message << "\n", 1;
}
