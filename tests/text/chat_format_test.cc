#include "daemon/text/chat_format.h"

#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "daemon/text/chat_json.h"

namespace facet::text {
namespace {

using nlohmann::json;

std::vector<json> golden_cases() {
  std::ifstream in("tests/golden/data/chat.jsonl");
  std::vector<json> cases;
  for (std::string line; std::getline(in, line);) cases.push_back(json::parse(line));
  REQUIRE(cases.size() >= 36);
  return cases;
}

std::string rendered(ChatFamily family, const std::string& line) {
  auto chat = read_chat(line);
  if (!chat.ok()) return "error: " + chat.error().message;
  auto prompt = render_chat(family, *chat);
  if (!prompt.ok()) return "error: " + prompt.error().message;
  return prompt->text();
}

}  // namespace

TEST_CASE("Gemma 4 chats are written as the official template writes them") {
  for (const json& golden : golden_cases()) {
    CAPTURE(golden["name"].get<std::string>());
    CHECK(rendered(ChatFamily::kGemma4, golden.dump()) == golden["rendered"].get<std::string>());
  }
}

}  // namespace facet::text
