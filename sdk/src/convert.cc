#include "sdk/src/convert.h"

namespace facet::client {
namespace {

// The public enums have the protocol's members in the protocol's order.
protocol::Priority to_protocol(Priority priority) {
  return static_cast<protocol::Priority>(priority);
}
static_assert(static_cast<int>(Priority::background) == static_cast<int>(protocol::Priority::kBackground));
static_assert(static_cast<int>(FinishReason::deadline) ==
              static_cast<int>(protocol::FinishReason::kDeadline));
static_assert(static_cast<int>(Role::tool) == static_cast<int>(protocol::Role::kTool));
static_assert(static_cast<int>(ModelState::failed) == static_cast<int>(protocol::ModelState::kFailed));

protocol::Message to_protocol(const Message& message) {
  protocol::Message to;
  to.role = static_cast<protocol::Role>(message.role);
  for (const ContentPart& part : message.content.parts) to.content.push_back({part.text});
  to.thought = message.thought;
  for (const ToolCall& call : message.tool_calls)
    to.tool_calls.push_back({call.id, call.name, call.arguments});
  to.tool_call_id = message.tool_call_id;
  to.tool_name = message.tool_name;
  return to;
}

protocol::Prompt to_protocol(const std::variant<std::string, TokenIds, Chat>& prompt) {
  if (auto* text = std::get_if<std::string>(&prompt)) return *text;
  if (auto* ids = std::get_if<TokenIds>(&prompt)) return *ids;
  const Chat& from = std::get<Chat>(prompt);
  protocol::Chat to;
  for (const Message& message : from.messages) to.messages.push_back(to_protocol(message));
  to.tools = from.tools;
  to.thinking = from.thinking;
  to.add_generation_prompt = from.add_generation_prompt;
  return to;
}

Part from_protocol(protocol::Part&& part) {
  if (auto* thought = std::get_if<protocol::Thought>(&part)) {
    return {.kind = Part::Kind::thought, .text = std::move(thought->text)};
  }
  if (auto* malformed = std::get_if<protocol::MalformedCall>(&part)) {
    return {.kind = Part::Kind::malformed_call, .text = std::move(malformed->text)};
  }
  auto& call = std::get<protocol::ToolCall>(part);
  return {.kind = Part::Kind::tool_call,
          .call = {std::move(call.id), std::move(call.name), std::move(call.arguments)}};
}

RequestStatus from_protocol(protocol::RequestStatus&& request) {
  return {.app = std::move(request.app),
          .model = std::move(request.model),
          .priority = static_cast<Priority>(request.priority),
          .running = request.running,
          .prompt_tokens = request.prompt_tokens,
          .generated_tokens = request.generated_tokens,
          .position = request.position,
          .estimated_wait = std::chrono::milliseconds(request.wait_ms),
          .sandbox = std::move(request.sandbox)};
}

}  // namespace

const char* name_of(Priority priority) {
  return protocol::name_of(to_protocol(priority));
}

const char* name_of(FinishReason reason) {
  return protocol::name_of(static_cast<protocol::FinishReason>(reason));
}

const char* name_of(Role role) {
  return protocol::name_of(static_cast<protocol::Role>(role));
}

const char* name_of(ModelState state) {
  return protocol::name_of(static_cast<protocol::ModelState>(state));
}

protocol::Generate to_protocol(const GenerateRequest& request) {
  protocol::Generate to;
  to.model = request.model;
  to.prompt = to_protocol(request.prompt);
  to.parse_special = request.parse_special;
  to.max_tokens = request.max_tokens;
  to.stop = request.stop;
  to.ignore_end = request.ignore_end;
  to.priority = to_protocol(request.priority);
  to.deadline_ms = static_cast<uint32_t>(request.deadline.count());

  const Sampling& from = request.sampling;
  to.sampling.temperature = from.temperature;
  to.sampling.top_k = from.top_k;
  to.sampling.top_p = from.top_p;
  to.sampling.min_p = from.min_p;
  to.sampling.repeat_penalty = from.repeat_penalty;
  to.sampling.repeat_last_n = from.repeat_last_n;
  to.sampling.presence_penalty = from.presence_penalty;
  to.sampling.frequency_penalty = from.frequency_penalty;
  to.sampling.seed = from.seed;
  for (const LogitBias& bias : from.logit_bias) to.sampling.logit_bias.emplace_back(bias.token, bias.bias);
  to.sampling.report_logprobs = request.report_logprobs;
  to.sampling.logprobs = request.logprobs;
  return to;
}

Token from_protocol(protocol::Token&& token) {
  Token to{.choice = 0,
           .sequence = token.sequence,
           .id = token.token,
           .text = std::move(token.text),
           .logprob = token.logprob,
           .alternatives = {},
           .parts = from_protocol(std::move(token.parts))};
  for (const protocol::Logprob& one : token.alternatives) to.alternatives.push_back({one.token, one.logprob});
  return to;
}

std::vector<Part> from_protocol(std::vector<protocol::Part>&& parts) {
  std::vector<Part> to;
  to.reserve(parts.size());
  for (auto& part : parts) to.push_back(from_protocol(std::move(part)));
  return to;
}

Model from_protocol(protocol::Model&& model) {
  return {.name = std::move(model.name),
          .state = static_cast<ModelState>(model.state),
          .file_bytes = model.file_bytes,
          .family = std::move(model.family),
          .context = model.context,
          .vocabulary = model.vocabulary,
          .backend = std::move(model.backend),
          .numerics = std::move(model.numerics),
          .error = std::move(model.error)};
}

Status from_protocol(protocol::Status&& status) {
  Status to{.server = std::move(status.server),
            .uptime = std::chrono::seconds(status.uptime),
            .engine = std::move(status.engine),
            .engine_starts = status.engine_starts,
            .connections = status.connections,
            .running = status.running,
            .waiting = status.waiting,
            .requests = {},
            .cache_pages = status.cache_pages,
            .cache_pages_free = status.cache_pages_free,
            .backend = std::move(status.backend),
            .parked = status.parked,
            .evicted = status.evicted,
            .cached_tokens = status.cached_tokens,
            .computed_tokens = status.computed_tokens,
            .registered_prompts = status.registered_prompts,
            .registered_tokens = status.registered_tokens};
  for (auto& request : status.requests) to.requests.push_back(from_protocol(std::move(request)));
  return to;
}

FinishReason from_protocol(protocol::FinishReason reason) {
  return static_cast<FinishReason>(reason);
}

Usage from_protocol(const protocol::Usage& usage) {
  return {usage.prompt_tokens, usage.generated_tokens, usage.cached_tokens};
}

Timings from_protocol(const protocol::Timings& timings) {
  using std::chrono::microseconds;
  return {microseconds(timings.queued), microseconds(timings.prompt), microseconds(timings.generate)};
}

}  // namespace facet::client
