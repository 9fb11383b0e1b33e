// The C++ client of Facet's daemon.
//
// A *client* is one connection. A call on it blocks until its answer is whole; tokens come to a callback, on
// the calling thread, as the daemon sends them. Several threads may call on one client at once, each with its
// own request. A callback that takes its time pauses its own request alone.
//
// Nothing here throws, except for what a callback throws and std::bad_alloc. A call that fails says why with
// a code of facet/status.h and a sentence. Once the connection is lost every call fails; connect again.
//
//   auto client = facet::client::Client::connect();
//   if (!client) ...  // client.error().message
//   auto answer = client->generate({.prompt = "Once upon a time"},
//                                  [](const facet::client::Token& token) { std::cout << token.text; });
//
// A *chat* is a conversation as the prompt: the daemon writes it in the format of its model, and reads what
// the model says. The visible text of an answer comes as Token::text; thoughts, tool calls and what only
// looked like a tool call come as Token::parts.
//
//   facet::client::Chat chat{.messages = {{.content = "What is 17 * 23?"}}, .thinking = true};
//   auto answer = client->generate({.prompt = chat});
//   if (answer) chat.messages.push_back(facet::client::message_of(*answer));  // and so on
#pragma once

#include <facet/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#define FACET_CLIENT_API __attribute__((visibility("default")))

namespace facet::client {

// Why a call failed. What codes a daemon that went away gives: unavailable, if the connection ended;
// engine_lost, if the daemon is there but the process that computed is not (a new try may succeed).
struct Error {
  facet_status code = FACET_INTERNAL;
  std::string message;
  // Of exhausted: a try after that may succeed, by what the daemon knows; 0: not known.
  std::chrono::milliseconds retry_after{0};
};

// A value, or why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  // Only if ok(); else std::bad_variant_access.
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  // Only if not ok(); else std::bad_variant_access.
  const Error& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

// A request's class: interactive, if a person waits; background takes what is left.
enum class Priority { interactive, standard, background };

enum class FinishReason {
  stop,        // an end token or a stop string
  length,      // max_tokens, or the context is full
  cancelled,   // by the caller
  tool_calls,  // of a chat: the model ended its turn and waits for what its tool calls give
  deadline,    // it passed; what came before it stands
};

// Who speaks in a message of a chat. developer: a system message under the name that some APIs give it.
enum class Role { system, developer, user, assistant, tool };

enum class ModelState { unloaded, loading, loaded, failed };

// "interactive", "stop", "loaded", ...
FACET_CLIENT_API const char* name_of(Priority priority);
FACET_CLIENT_API const char* name_of(FinishReason reason);
FACET_CLIENT_API const char* name_of(Role role);
FACET_CLIENT_API const char* name_of(ModelState state);

struct LogitBias {
  uint32_t token = 0;
  float bias = 0;
};

// How a token is drawn. The same seed, request and model give the same tokens.
struct Sampling {
  float temperature = 1;  // 0: the likeliest token
  uint32_t top_k = 0;     // 0: off
  float top_p = 1;        // 1: off
  float min_p = 0;        // 0: off
  float repeat_penalty = 1;
  uint32_t repeat_last_n = 64;  // tokens that the penalties look back on
  float presence_penalty = 0;
  float frequency_penalty = 0;
  uint64_t seed = 0;
  std::vector<LogitBias> logit_bias;
};

using TokenIds = std::vector<uint32_t>;

// The model asks that a tool is called.
struct ToolCall {
  std::string id;         // names the call inside its conversation; the daemon chooses those of an answer
  std::string name;       // of the tool
  std::string arguments;  // a JSON object
};

struct ContentPart {
  std::string text;
};

// What a message says, part after part; a text is one part, or none if it is empty.
struct Content {
  Content() = default;
  Content(std::string text) {
    if (!text.empty()) parts.push_back({std::move(text)});
  }
  Content(const char* text) : Content(std::string(text)) {}
  Content(std::vector<ContentPart> several) : parts(std::move(several)) {}

  std::vector<ContentPart> parts;
};

// One message of a chat. Its texts are UTF-8; no text can become a control token of the model.
struct Message {
  Role role = Role::user;
  Content content = {};
  // Of an assistant's message:
  std::string thought = {};  // the model's format says which thoughts of earlier turns it is shown
  std::vector<ToolCall> tool_calls = {};
  // Of a tool's message, whose content is what the tool gave (text or JSON):
  std::string tool_call_id = {};  // the call that it answers
  std::string tool_name = {};     // may be empty if tool_call_id names an earlier call
};

struct Chat {
  std::vector<Message> messages = {};  // the oldest first
  // Each a declaration as JSON:
  // {"type":"function","function":{"name":...,"description":...,"parameters":{...}}}
  std::vector<std::string> tools = {};
  bool thinking = false;              // the model may think before it answers
  bool add_generation_prompt = true;  // open the model's turn
};

struct GenerateRequest {
  std::string model = {};  // empty: the daemon's default
  // Text in UTF-8, token ids taken as they are, or a conversation.
  std::variant<std::string, TokenIds, Chat> prompt = {};
  bool parse_special = false;  // control tokens written in a text prompt are control tokens
  uint32_t max_tokens = 0;     // 0: until the context is full
  std::vector<std::string> stop =
      {};                   // the answer ends before the first of them; of a chat: its visible text
  bool ignore_end = false;  // go on after end tokens
  Sampling sampling = {};
  Priority priority = Priority::standard;
  // From now on, at most a day; 0: none. A request whose first token is expected later fails at once with
  // FACET_DEADLINE; one that comes to its deadline ends there, with FinishReason::deadline.
  std::chrono::milliseconds deadline{0};
  bool report_logprobs = false;  // fill Token::logprob
  uint32_t logprobs = 0;         // alternatives per token, with report_logprobs
};

struct Logprob {
  uint32_t token = 0;
  float logprob = 0;  // natural logarithm
};

// What an answer to a chat holds beside its visible text.
struct Part {
  enum class Kind {
    thought,         // `text` is a piece of what the model thinks
    tool_call,       // `call` is a whole call
    malformed_call,  // `text` stands where a call should and is none, as the model wrote it
  };

  Kind kind = Kind::thought;
  std::string text = {};
  ToolCall call = {};
};

// What a callback gets. The texts of all of them, one after the other, are the answer. In the order of the
// model's words `text` comes before `parts`.
struct Token {
  static constexpr uint32_t kNoId = UINT32_MAX;

  uint32_t choice = 0;    // of which of several answers to one prompt
  uint32_t sequence = 0;  // of that answer: 0, 1, 2, ...
  uint32_t id = kNoId;    // kNoId: no token, but what was held back (it might have begun a stop string)
  std::string text;       // whole characters of UTF-8; may be empty
  float logprob = 0;
  std::vector<Logprob> alternatives;
  std::vector<Part> parts = {};  // of a chat
};

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
  uint32_t cached_tokens = 0;  // of the prompt: read before for this user or for all, so not again
};

// As the engine measured them.
struct Timings {
  std::chrono::microseconds queued{0};    // until its first step
  std::chrono::microseconds prompt{0};    // to the first token
  std::chrono::microseconds generate{0};  // from the first token to the last
};

struct Completion {
  std::string text;
  TokenIds ids;
  FinishReason reason = FinishReason::stop;
  Usage usage;
  Timings timings;
  // Of a chat; `text` is its visible text:
  std::string thought = {};
  std::vector<ToolCall> tool_calls = {};
  std::vector<std::string> malformed_calls = {};  // see Part::Kind
};

// The answer as the next message of its conversation: text, thought and tool calls.
FACET_CLIENT_API Message message_of(const Completion& answer);

struct Model {
  std::string name;
  ModelState state = ModelState::unloaded;
  uint64_t file_bytes = 0;
  // Empty or 0 until the model was loaded:
  std::string family;
  uint32_t context = 0;  // tokens per sequence
  uint32_t vocabulary = 0;
  std::string backend;
  std::string numerics;  // what the bits of an answer depend on beside the request
  std::string error;     // of the last try to load it
};

struct RequestStatus {
  std::string app;  // by its unit, else as it calls itself
  std::string model;
  Priority priority = Priority::standard;
  bool running = false;
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
  // Of one that waits, as the engine estimates it now:
  uint32_t position = 0;                        // in its class, 1: the next; 0: not known
  std::chrono::milliseconds estimated_wait{0};  // until its first step; 0: none, or not known
  // That the kernel says the app is in: "flatpak:ID", "snap:NAME", "unknown"; empty: none, or an older
  // daemon.
  std::string sandbox;
};

struct Status {
  std::string server;
  std::chrono::seconds uptime{0};
  std::string engine;  // "running", "starting", "waiting" (to start it again), "stopped"
  uint32_t engine_starts = 0;
  uint32_t connections = 0;
  uint32_t running = 0;
  uint32_t waiting = 0;
  std::vector<RequestStatus> requests;  // of this user, in a sandbox of this one; at most 256
  uint64_t cache_pages = 0;
  uint64_t cache_pages_free = 0;
  std::string backend;
  // Since the engine's start: steps that waited for a more urgent one, requests that gave their place up and
  // go on later, tokens of prompts that were read before, and tokens that went through the model.
  uint64_t parked = 0;
  uint64_t evicted = 0;
  uint64_t cached_tokens = 0;
  uint64_t computed_tokens = 0;
  // System prompts of the administrator that are kept for all users, and their tokens.
  uint32_t registered_prompts = 0;
  uint64_t registered_tokens = 0;
};

// Called for each token, on the thread that called generate. A callable that returns false cancels the
// request; one that returns nothing goes on. It may make other calls on the client.
class OnToken {
 public:
  OnToken() = default;

  template <typename Callable>
  requires(!std::is_same_v<std::remove_cvref_t<Callable>, OnToken> &&
           std::is_invocable_v<Callable&, const Token&>) OnToken(Callable&& callable) {
    if constexpr (std::is_void_v<std::invoke_result_t<Callable&, const Token&>>) {
      call_ = [callable = std::forward<Callable>(callable)](const Token& token) mutable {
        callable(token);
        return true;
      };
    } else {
      call_ = std::forward<Callable>(callable);
    }
  }

  // Whether to go on.
  bool operator()(const Token& token) const { return !call_ || call_(token); }

 private:
  std::function<bool(const Token&)> call_;
};

struct ConnectOptions {
  // Empty: $FACET_SOCKET; else $XDG_RUNTIME_DIR/facet/facet.sock if there is one; else /run/facet/facet.sock.
  std::string socket = {};
  std::string app = {};  // a name for the daemon's log and status; empty: the program's
  std::chrono::milliseconds timeout{5000};
  uint32_t window = 64;  // tokens of one request that may be on their way before a callback took them
};

class FACET_CLIENT_API Client {
 public:
  // unavailable: no daemon is there. denied: the socket's mode refuses this user. timeout. version_mismatch.
  static Result<Client> connect(const ConnectOptions& options = {});

  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  // No call may be running.
  ~Client();

  // Gives the whole answer, also when it was cancelled: by the callback, or by `stop` from any thread.
  // If the callback throws, the request is cancelled and the exception passes on. unsupported: a chat or a
  // deadline, and the daemon is too old for it. exhausted: too much is asked of the daemon now.
  Result<Completion> generate(const GenerateRequest& request, const OnToken& on_token = {},
                              std::stop_token stop = {});
  // So many answers to one prompt, which is read once: choice i is the answer to the same request with the
  // seed `sampling.seed + i`. Their tokens come to one callback; returning false cancels that choice alone,
  // `stop` all of them. An error if any fails; then the others are cancelled. unsupported: more than one, and
  // the daemon is too old for it.
  Result<std::vector<Completion>> generate_choices(const GenerateRequest& request, uint32_t choices,
                                                   const OnToken& on_token = {}, std::stop_token stop = {});
  Result<std::vector<Model>> models();
  Result<Status> status();

  // The daemon's name and version, "facetd 0.1.0".
  const std::string& server() const;
  // What the daemon can do beyond the minimum of its protocol version: "chat", "deadline", "choices", ...
  const std::vector<std::string>& features() const;

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace facet::client
