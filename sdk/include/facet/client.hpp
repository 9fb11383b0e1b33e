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
  stop,       // an end token or a stop string
  length,     // max_tokens, or the context is full
  cancelled,  // by the caller
};

enum class ModelState { unloaded, loading, loaded, failed };

// "interactive", "stop", "loaded", ...
FACET_CLIENT_API const char* name_of(Priority priority);
FACET_CLIENT_API const char* name_of(FinishReason reason);
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

struct GenerateRequest {
  std::string model = {};                           // empty: the daemon's default
  std::variant<std::string, TokenIds> prompt = {};  // text in UTF-8, or token ids taken as they are
  bool parse_special = false;          // control tokens written in a text prompt are control tokens
  uint32_t max_tokens = 0;             // 0: until the context is full
  std::vector<std::string> stop = {};  // the answer ends before the first of them
  bool ignore_end = false;             // go on after end tokens
  Sampling sampling = {};
  Priority priority = Priority::standard;
  bool report_logprobs = false;  // fill Token::logprob
  uint32_t logprobs = 0;         // alternatives per token, with report_logprobs
};

struct Logprob {
  uint32_t token = 0;
  float logprob = 0;  // natural logarithm
};

// What a callback gets. The texts of all of them, one after the other, are the answer.
struct Token {
  static constexpr uint32_t kNoId = UINT32_MAX;

  uint32_t sequence = 0;  // 0, 1, 2, ...
  uint32_t id = kNoId;    // kNoId: no token, but text that was held back (it might have begun a stop string)
  std::string text;       // whole characters of UTF-8; may be empty
  float logprob = 0;
  std::vector<Logprob> alternatives;
};

struct Usage {
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
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
};

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
  std::string app;
  std::string model;
  Priority priority = Priority::standard;
  bool running = false;
  uint32_t prompt_tokens = 0;
  uint32_t generated_tokens = 0;
};

struct Status {
  std::string server;
  std::chrono::seconds uptime{0};
  std::string engine;  // "running", "starting", "waiting" (to start it again), "stopped"
  uint32_t engine_starts = 0;
  uint32_t connections = 0;
  uint32_t running = 0;
  uint32_t waiting = 0;
  std::vector<RequestStatus> requests;  // of this user; at most 256
  uint64_t cache_pages = 0;
  uint64_t cache_pages_free = 0;
  std::string backend;
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
  // If the callback throws, the request is cancelled and the exception passes on.
  Result<Completion> generate(const GenerateRequest& request, const OnToken& on_token = {},
                              std::stop_token stop = {});
  Result<std::vector<Model>> models();
  Result<Status> status();

  // The daemon's name and version, "facetd 0.1.0".
  const std::string& server() const;

 private:
  class Impl;
  explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace facet::client
