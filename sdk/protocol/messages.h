// The messages of facet.capnp as plain C++ values.
//
// This is what the rest of the code handles: generated Cap'n Proto code stays inside the codec. Field
// meanings, units and defaults stand in facet.capnp; names here are its names in our spelling. All strings
// are valid UTF-8 once decoded.
#pragma once

#include <facet/status.h>

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace facet::protocol {

constexpr uint32_t kVersion = 1;
// ServerHello::features: the daemon takes a chat as a prompt.
constexpr char kFeatureChat[] = "chat";
// The daemon keeps the deadline of a request.
constexpr char kFeatureDeadline[] = "deadline";
// A request may ask for several answers to its prompt.
constexpr char kFeatureChoices[] = "choices";

using RequestId = uint64_t;

enum class Priority : uint16_t { kInteractive = 0, kStandard = 1, kBackground = 2 };
enum class FinishReason : uint16_t { kStop = 0, kLength = 1, kCancelled = 2, kToolCalls = 3, kDeadline = 4 };
enum class Role : uint16_t { kSystem = 0, kDeveloper = 1, kUser = 2, kAssistant = 3, kTool = 4 };
enum class ModelState : uint16_t { kUnloaded = 0, kLoading = 1, kLoaded = 2, kFailed = 3 };

// "interactive", "standard", "background" and so on, as they stand in JSON and in flags.
const char* name_of(Priority priority);
const char* name_of(FinishReason reason);
const char* name_of(Role role);
const char* name_of(ModelState state);

// ---- from the client

struct ClientHello {
  uint32_t version_min = kVersion;
  uint32_t version_max = kVersion;
  std::string app;
};

struct ListModels {
  RequestId id = 0;
};

struct Sampling {
  float temperature = 1;
  uint32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repeat_penalty = 1;
  uint32_t repeat_last_n = 64;
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  std::vector<std::pair<uint32_t, float>> logit_bias;  // token, bias
  uint32_t logprobs = 0;
  bool report_logprobs = false;
};

using TokenIds = std::vector<uint32_t>;

struct ToolCall {
  std::string id;
  std::string name;
  std::string arguments;  // JSON

  bool operator==(const ToolCall&) const = default;
};

struct ContentPart {
  std::string text;

  bool operator==(const ContentPart&) const = default;
};

struct Message {
  Role role = Role::kUser;
  std::vector<ContentPart> content = {};
  std::string thought = {};
  std::vector<ToolCall> tool_calls = {};
  std::string tool_call_id = {};
  std::string tool_name = {};

  bool operator==(const Message&) const = default;
};

struct Chat {
  std::vector<Message> messages;
  std::vector<std::string> tools;  // JSON
  bool thinking = false;
  bool add_generation_prompt = true;

  bool operator==(const Chat&) const = default;
};

using Prompt = std::variant<std::string, TokenIds, Chat>;

struct Generate {
  RequestId id = 0;
  std::string model;
  Prompt prompt;
  bool parse_special = false;
  uint32_t max_tokens = 0;
  std::vector<std::string> stop;
  bool ignore_end = false;
  Sampling sampling;
  Priority priority = Priority::kStandard;
  uint32_t credit = 0;
  uint32_t deadline_ms = 0;
  uint32_t choices = 1;
};

struct Cancel {
  RequestId id = 0;
};

struct Credit {
  RequestId id = 0;
  uint32_t tokens = 0;
};

struct GetStatus {
  RequestId id = 0;
};

using ClientMessage = std::variant<ClientHello, ListModels, Generate, Cancel, Credit, GetStatus>;

// ---- from the daemon

struct Limits {
  uint32_t message_bytes = 0;
  uint32_t open_requests = 0;
  uint32_t prompt_tokens = 0;
  uint32_t stop_strings = 0;
  uint32_t logit_biases = 0;
  uint32_t logprobs = 0;
  uint32_t chat_messages = 0;
  uint32_t content_parts = 0;
  uint32_t tool_calls = 0;
  uint32_t arguments_bytes = 0;
  uint32_t tools = 0;
  uint32_t tools_bytes = 0;
  uint32_t json_nesting = 0;
  uint32_t chat_parts = 0;
  uint32_t choices = 0;

  bool operator==(const Limits&) const = default;
};

struct ServerHello {
  uint32_t version = kVersion;
  std::string server;
  std::vector<std::string> features;
  Limits limits;
};

struct Model {
  std::string name;
  ModelState state = ModelState::kUnloaded;
  uint64_t file_bytes = 0;
  std::string family;
  uint32_t context = 0;
  uint32_t vocabulary = 0;
  std::string backend;
  std::string numerics;
  std::string error;
};

struct Models {
  RequestId id = 0;
  std::vector<Model> models;
};

struct Logprob {
  uint32_t token = 0;
  float logprob = 0;
};

struct Thought {
  std::string text;

  bool operator==(const Thought&) const = default;
};

struct MalformedCall {
  std::string text;

  bool operator==(const MalformedCall&) const = default;
};

using Part = std::variant<Thought, ToolCall, MalformedCall>;

struct Token {
  RequestId id = 0;
  uint32_t sequence = 0;
  uint32_t token = 0;
  std::string text;
  float logprob = 0;
  std::vector<Logprob> alternatives;
  std::vector<Part> parts = {};
};

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
  uint32_t cached_tokens = 0;
};

// Microseconds.
struct Timings {
  uint64_t queued = 0;
  uint64_t prompt = 0;
  uint64_t generate = 0;
};

struct Finish {
  RequestId id = 0;
  FinishReason reason = FinishReason::kStop;
  std::string text;
  Usage usage;
  Timings timings;
  std::vector<Part> parts = {};
};

struct RequestStatus {
  std::string app;
  std::string model;
  Priority priority = Priority::kStandard;
  bool running = false;
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
  uint32_t position = 0;
  uint32_t wait_ms = 0;
  std::string sandbox = {};
};

struct Status {
  RequestId id = 0;
  std::string server;
  uint64_t uptime = 0;  // seconds
  std::string engine;
  uint32_t engine_starts = 0;
  uint32_t connections = 0;
  uint32_t running = 0;
  uint32_t waiting = 0;
  std::vector<RequestStatus> requests;
  uint64_t cache_pages = 0;
  uint64_t cache_pages_free = 0;
  std::string backend;
  uint64_t parked = 0;
  uint64_t evicted = 0;
  uint64_t cached_tokens = 0;
  uint64_t computed_tokens = 0;
  uint32_t registered_prompts = 0;
  uint64_t registered_tokens = 0;
};

struct Failed {
  RequestId id = 0;
  facet_status code = FACET_INTERNAL;
  std::string message;
  uint32_t retry_after_ms = 0;
};

using ServerMessage = std::variant<ServerHello, Models, Token, Finish, Status, Failed>;

}  // namespace facet::protocol
