#include <facet/client.hpp>

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>

#include "sdk/protocol/limits.h"
#include "sdk/src/connection.h"
#include "sdk/src/convert.h"

namespace facet::client {
namespace {

Error unexpected() {
  return {FACET_MALFORMED, "the daemon's answer does not belong to the request"};
}

// Sends a request that one message answers, and waits for it.
template <typename Request, typename Answer>
facet::Result<Answer> ask(Connection& connection) {
  Connection::Call call(connection, 1);
  FACET_CHECK(call.send(Request{call.id()}));
  FACET_TRY(auto message, call.next());
  if (auto* answer = std::get_if<Answer>(&message)) return std::move(*answer);
  if (auto* failed = std::get_if<protocol::Failed>(&message)) {
    return facet::Error{failed->code, std::move(failed->message), failed->retry_after_ms};
  }
  return facet::Error{unexpected().code, unexpected().message};
}

// Whether the request can be said, to that daemon.
facet::Result<void> check(const GenerateRequest& request, uint32_t choices,
                          const protocol::ServerHello& daemon) {
  auto can = [&](const char* feature) {
    return std::find(daemon.features.begin(), daemon.features.end(), feature) != daemon.features.end();
  };
  if (std::holds_alternative<Chat>(request.prompt) && !can(protocol::kFeatureChat)) {
    return facet::Error{FACET_UNSUPPORTED, "the daemon (" + daemon.server + ") takes no chats"};
  }
  const auto deadline = request.deadline.count();
  if (deadline < 0 || deadline > protocol::kMaxDeadlineMs) {
    return facet::Error{FACET_INVALID_ARGUMENT, "deadline: " + std::to_string(deadline) +
                                                    " ms, it is between 0 and " +
                                                    std::to_string(protocol::kMaxDeadlineMs)};
  }
  if (deadline != 0 && !can(protocol::kFeatureDeadline)) {
    return facet::Error{FACET_UNSUPPORTED, "the daemon (" + daemon.server + ") keeps no deadlines"};
  }
  if (choices > 1 && !can(protocol::kFeatureChoices)) {
    return facet::Error{FACET_UNSUPPORTED,
                        "the daemon (" + daemon.server + ") gives one answer to a request"};
  }
  const uint32_t most = std::max(daemon.limits.choices, 1u);
  if (choices < 1 || choices > most) {
    return facet::Error{FACET_INVALID_ARGUMENT, "choices: " + std::to_string(choices) +
                                                    ", it is between 1 and " + std::to_string(most)};
  }
  return {};
}

}  // namespace

class Client::Impl {
 public:
  Impl(std::unique_ptr<Connection> connection, uint32_t window)
      : connection_(std::move(connection)), window_(std::max(window, 1u)) {}

  Connection& connection() { return *connection_; }
  Result<std::vector<Completion>> generate(const GenerateRequest& request, uint32_t choices,
                                           const OnToken& on_token, std::stop_token stop);

 private:
  class Choice;
  class Generation;

  std::unique_ptr<Connection> connection_;
  const uint32_t window_;
};

// One answer that a call of generate awaits: a request of its own, under its own id.
class Client::Impl::Choice {
 public:
  Choice(Connection& connection, protocol::RequestId id, uint32_t number, uint32_t window,
         const OnToken& on_token)
      : connection_(connection), id_(id), number_(number), window_(window), on_token_(on_token) {}

  bool open() const { return open_; }
  Completion& answer() { return answer_; }

  // It may have so many tokens, 0: any number.
  void begin(uint32_t max_tokens) {
    open_ = true;
    max_tokens_ = max_tokens;
  }
  void give_up() { open_ = false; }
  // From any thread while this lives. If it cannot be sent, then the next message says so.
  void cancel() {
    if (!cancelled_.exchange(true)) (void)connection_.send(protocol::Cancel{id_}).ok();
  }

  facet::Result<void> take(protocol::ServerMessage&& message) {
    if (auto* token = std::get_if<protocol::Token>(&message)) {
      if (token->sequence != answer_.ids.size())
        return facet::Error{FACET_MALFORMED, "the daemon left out a token"};
      if (max_tokens_ != 0 && answer_.ids.size() >= max_tokens_)
        return facet::Error{FACET_MALFORMED, "the daemon sent more tokens than were asked for"};
      take(std::move(*token));
    } else if (auto* finish = std::get_if<protocol::Finish>(&message)) {
      take(std::move(*finish));
    } else if (auto* failed = std::get_if<protocol::Failed>(&message)) {
      open_ = false;
      return facet::Error{failed->code, std::move(failed->message), failed->retry_after_ms};
    } else {
      return facet::Error{unexpected().code, unexpected().message};
    }
    return {};
  }

 private:
  void take(protocol::Token&& message) {
    deliver(from_protocol(std::move(message)));
    if (++taken_ < (window_ + 1) / 2) return;
    // If it cannot be sent the daemon is gone: what it sent before still counts, then the next message says
    // so.
    (void)connection_.send(protocol::Credit{id_, std::exchange(taken_, 0)}).ok();
  }

  void take(protocol::Finish&& finish) {
    open_ = false;
    if (!finish.text.empty() || !finish.parts.empty()) {
      Token rest;
      rest.sequence = static_cast<uint32_t>(answer_.ids.size());
      rest.text = std::move(finish.text);
      rest.parts = from_protocol(std::move(finish.parts));
      cancelled_ = true;  // there is nothing left to cancel
      deliver(std::move(rest));
    }
    answer_.reason = from_protocol(finish.reason);
    answer_.usage = from_protocol(finish.usage);
    answer_.timings = from_protocol(finish.timings);
  }

  void deliver(Token token) {
    token.choice = number_;
    answer_.text += token.text;
    for (const Part& part : token.parts) add(part);
    if (token.id != Token::kNoId) answer_.ids.push_back(token.id);
    if (!refused_ && !on_token_(token)) {
      refused_ = true;
      cancel();
    }
  }

  void add(const Part& part) {
    switch (part.kind) {
      case Part::Kind::thought:
        answer_.thought += part.text;
        break;
      case Part::Kind::tool_call:
        answer_.tool_calls.push_back(part.call);
        break;
      case Part::Kind::malformed_call:
        answer_.malformed_calls.push_back(part.text);
        break;
    }
  }

  Connection& connection_;
  const protocol::RequestId id_;
  const uint32_t number_;
  const uint32_t window_;
  const OnToken& on_token_;
  std::atomic<bool> cancelled_ = false;
  bool open_ = false;
  uint32_t max_tokens_ = 0;
  bool refused_ = false;  // by the callback, which is not called again
  uint32_t taken_ = 0;    // tokens since credit was last granted
  Completion answer_;
};

// One call of generate.
class Client::Impl::Generation {
 public:
  Generation(Impl& client, uint32_t choices, const OnToken& on_token)
      : window_(client.window_),
        // All tokens of the window, and the finish.
        call_(client.connection(), size_t{window_} + 1, choices) {
    for (uint32_t i = 0; i < choices; ++i) {
      choices_.emplace_back(client.connection(), call_.id() + i, i, window_, on_token);
    }
  }

  // A callback that threw, or a choice that failed, leaves requests that nobody waits for.
  ~Generation() {
    for (Choice& choice : choices_) {
      if (choice.open()) choice.cancel();
    }
  }

  facet::Result<void> start(const GenerateRequest& request) {
    auto message = to_protocol(request);
    message.id = call_.id();
    message.credit = window_;
    message.choices = static_cast<uint32_t>(choices_.size());
    FACET_CHECK(call_.send(message));
    for (Choice& choice : choices_) choice.begin(request.max_tokens);
    return {};
  }

  // From any thread while this lives.
  void cancel() {
    for (Choice& choice : choices_) choice.cancel();
  }

  facet::Result<std::vector<Completion>> run() {
    for (size_t left = choices_.size(); left > 0;) {
      auto message = call_.next();
      if (!message.ok()) {
        for (Choice& choice : choices_) choice.give_up();
        return std::move(message).error();
      }
      Choice& choice = choices_[request_of(*message) - call_.id()];
      if (!choice.open()) return facet::Error{FACET_MALFORMED, "the daemon went on after an answer's end"};
      FACET_CHECK(choice.take(*std::move(message)));
      if (!choice.open()) --left;
    }
    std::vector<Completion> answers;
    for (Choice& choice : choices_) answers.push_back(std::move(choice.answer()));
    return answers;
  }

 private:
  const uint32_t window_;
  Connection::Call call_;
  std::deque<Choice> choices_;
};

Result<std::vector<Completion>> Client::Impl::generate(const GenerateRequest& request, uint32_t choices,
                                                       const OnToken& on_token, std::stop_token stop) {
  if (stop.stop_requested()) {
    Completion nothing;
    nothing.reason = FinishReason::cancelled;
    return std::vector<Completion>(choices, nothing);
  }
  if (auto able = check(request, choices, connection_->hello()); !able.ok()) {
    return from_protocol(std::move(able).error());
  }
  Generation generation(*this, choices, on_token);
  if (auto started = generation.start(request); !started.ok())
    return from_protocol(std::move(started).error());
  std::stop_callback on_stop(stop, [&] { generation.cancel(); });
  auto answers = generation.run();
  if (!answers.ok()) return from_protocol(std::move(answers).error());
  return *std::move(answers);
}

// ---- the public face

Result<Client> Client::connect(const ConnectOptions& options) {
  std::string path = socket_path(options.socket);
  auto connection = Connection::open(path, options.app, std::chrono::steady_clock::now() + options.timeout);
  if (!connection.ok()) return from_protocol(std::move(connection).error());
  return Client(std::make_unique<Impl>(*std::move(connection), options.window));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Completion> Client::generate(const GenerateRequest& request, const OnToken& on_token,
                                    std::stop_token stop) {
  auto answers = impl_->generate(request, 1, on_token, std::move(stop));
  if (!answers) return answers.error();
  return std::move(answers->front());
}

Result<std::vector<Completion>> Client::generate_choices(const GenerateRequest& request, uint32_t choices,
                                                         const OnToken& on_token, std::stop_token stop) {
  return impl_->generate(request, choices, on_token, std::move(stop));
}

Result<std::vector<Model>> Client::models() {
  auto answer = ask<protocol::ListModels, protocol::Models>(impl_->connection());
  if (!answer.ok()) return from_protocol(std::move(answer).error());
  std::vector<Model> models;
  for (auto& model : answer->models) models.push_back(from_protocol(std::move(model)));
  return models;
}

Result<Status> Client::status() {
  auto answer = ask<protocol::GetStatus, protocol::Status>(impl_->connection());
  if (!answer.ok()) return from_protocol(std::move(answer).error());
  return from_protocol(*std::move(answer));
}

Message message_of(const Completion& answer) {
  return {.role = Role::assistant,
          .content = answer.text,
          .thought = answer.thought,
          .tool_calls = answer.tool_calls};
}

const std::vector<std::string>& Client::features() const {
  return impl_->connection().hello().features;
}

const std::string& Client::server() const {
  return impl_->connection().hello().server;
}

}  // namespace facet::client
