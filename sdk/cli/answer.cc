#include "sdk/cli/answer.h"

#include <cstdio>
#include <nlohmann/json.hpp>

namespace facet::cli {
namespace {

using Json = nlohmann::ordered_json;

Json alternatives_of(const client::Token& token) {
  Json list = Json::array();
  for (const auto& one : token.alternatives) list.push_back({{"id", one.token}, {"logprob", one.logprob}});
  return list;
}

Json json_of(const client::Part& part) {
  switch (part.kind) {
    case client::Part::Kind::thought:
      return {{"kind", "thought"}, {"text", part.text}};
    case client::Part::Kind::tool_call:
      return {{"kind", "tool_call"},
              {"id", part.call.id},
              {"name", part.call.name},
              {"arguments", part.call.arguments}};
    case client::Part::Kind::malformed_call:
      break;
  }
  return {{"kind", "malformed_call"}, {"text", part.text}};
}

void add_parts(const client::Token& token, Json& line) {
  if (token.parts.empty()) return;
  Json list = Json::array();
  for (const auto& part : token.parts) list.push_back(json_of(part));
  line["parts"] = std::move(list);
}

}  // namespace

std::string json_line(const client::Token& token, bool logprobs, bool choices) {
  Json line = {{"type", "token"}};
  if (choices) line["choice"] = token.choice;
  line["sequence"] = token.sequence;
  line["id"] = token.id;
  line["text"] = token.text;
  add_parts(token, line);
  if (logprobs) {
    line["logprob"] = token.logprob;
    line["alternatives"] = alternatives_of(token);
  }
  return line.dump() + "\n";
}

std::string json_line(const client::Completion& answer, const client::Token& rest, bool choices) {
  Json line = {{"type", "finish"}};
  if (choices) line["choice"] = rest.choice;
  line["reason"] = client::name_of(answer.reason);
  line["text"] = rest.text;
  add_parts(rest, line);
  line["usage"] = {{"prompt_tokens", answer.usage.prompt_tokens},
                   {"generated_tokens", answer.usage.generated_tokens},
                   {"cached_tokens", answer.usage.cached_tokens}};
  line["timings_us"] = {{"queued", answer.timings.queued.count()},
                        {"prompt", answer.timings.prompt.count()},
                        {"generate", answer.timings.generate.count()}};
  return line.dump() + "\n";
}

void print_stats(const client::Completion& answer) {
  auto seconds = [](std::chrono::microseconds time) { return std::chrono::duration<double>(time).count(); };
  auto rate = [](double count, double time) { return time > 0 ? count / time : 0; };
  const double prompt = seconds(answer.timings.prompt);
  const double generate = seconds(answer.timings.generate);
  const uint32_t generated = answer.usage.generated_tokens;
  // The first token's time is the prompt's.
  const client::Usage& usage = answer.usage;
  const std::string cached =
      usage.cached_tokens == 0 ? "" : ", " + std::to_string(usage.cached_tokens) + " cached,";
  std::fprintf(
      stderr,
      "%u tokens at %.1f tokens/s; prompt of %u tokens%s at %.1f tokens/s; first token after %.0f ms\n",
      generated, rate(generated > 0 ? generated - 1 : 0, generate), usage.prompt_tokens, cached.c_str(),
      rate(usage.prompt_tokens - usage.cached_tokens, prompt),
      (seconds(answer.timings.queued) + prompt) * 1e3);
}

}  // namespace facet::cli
