#include <facet/client.hpp>

#include <algorithm>
#include <atomic>
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
facet::Result<void> check(const GenerateRequest& request, const protocol::ServerHello& daemon) {
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
  return {};
}

}  // namespace

class Client::Impl {
 public:
  Impl(std::unique_ptr<Connection> connection, uint32_t window)
      : connection_(std::move(connection)), window_(std::max(window, 1u)) {}

  Connection& connection() { return *connection_; }
  Result<Completion> generate(const GenerateRequest& request, const OnToken& on_token, std::stop_token stop);

 private:
  class Generation;

  std::unique_ptr<Connection> connection_;
  const uint32_t window_;
};

// One call of generate.
class Client::Impl::Generation {
 public:
  Generation(Impl& client, const OnToken& on_token)
      // All tokens of the window, and the finish.
      : connection_(client.connection()),
        window_(client.window_),
        on_token_(on_token),
        call_(connection_, size_t{window_} + 1) {}

  // A callback that threw leaves a request that nobody waits for.
  ~Generation() {
    if (open_) cancel();
  }

  facet::Result<void> start(const GenerateRequest& request) {
    auto message = to_protocol(request);
    message.id = call_.id();
    message.credit = window_;
    FACET_CHECK(call_.send(message));
    open_ = true;
    return {};
  }

  // From any thread while this lives. If it cannot be sent, then next() fails.
  void cancel() {
    if (!cancelled_.exchange(true)) (void)connection_.send(protocol::Cancel{call_.id()}).ok();
  }

  facet::Result<Completion> run() {
    for (;;) {
      auto message = call_.next();
      if (!message.ok()) {
        open_ = false;
        return std::move(message).error();
      }
      if (auto* token = std::get_if<protocol::Token>(&*message)) {
        if (token->sequence != answer_.ids.size())
          return facet::Error{FACET_MALFORMED, "the daemon left out a token"};
        take(std::move(*token));
      } else if (auto* finish = std::get_if<protocol::Finish>(&*message)) {
        return finished(std::move(*finish));
      } else if (auto* failed = std::get_if<protocol::Failed>(&*message)) {
        open_ = false;
        return facet::Error{failed->code, std::move(failed->message), failed->retry_after_ms};
      } else {
        return facet::Error{unexpected().code, unexpected().message};
      }
    }
  }

 private:
  void take(protocol::Token&& message) {
    deliver(from_protocol(std::move(message)));
    if (++taken_ < (window_ + 1) / 2) return;
    // If it cannot be sent the daemon is gone: what it sent before still counts, then next() says so.
    (void)connection_.send(protocol::Credit{call_.id(), std::exchange(taken_, 0)}).ok();
  }

  void deliver(const Token& token) {
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

  Completion finished(protocol::Finish&& finish) {
    open_ = false;
    if (!finish.text.empty() || !finish.parts.empty()) {
      Token rest;
      rest.sequence = static_cast<uint32_t>(answer_.ids.size());
      rest.text = std::move(finish.text);
      rest.parts = from_protocol(std::move(finish.parts));
      cancelled_ = true;  // there is nothing left to cancel
      deliver(rest);
    }
    answer_.reason = from_protocol(finish.reason);
    answer_.usage = from_protocol(finish.usage);
    answer_.timings = from_protocol(finish.timings);
    return std::move(answer_);
  }

  Connection& connection_;
  const uint32_t window_;
  const OnToken& on_token_;
  Connection::Call call_;
  std::atomic<bool> cancelled_ = false;
  bool open_ = false;
  bool refused_ = false;  // by the callback, which is not called again
  uint32_t taken_ = 0;    // tokens since credit was last granted
  Completion answer_;
};

Result<Completion> Client::Impl::generate(const GenerateRequest& request, const OnToken& on_token,
                                          std::stop_token stop) {
  if (stop.stop_requested()) {
    Completion nothing;
    nothing.reason = FinishReason::cancelled;
    return nothing;
  }
  if (auto able = check(request, connection_->hello()); !able.ok()) {
    return from_protocol(std::move(able).error());
  }
  Generation generation(*this, on_token);
  if (auto started = generation.start(request); !started.ok())
    return from_protocol(std::move(started).error());
  std::stop_callback on_stop(stop, [&] { generation.cancel(); });
  auto answer = generation.run();
  if (!answer.ok()) return from_protocol(std::move(answer).error());
  return *std::move(answer);
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
  return impl_->generate(request, on_token, std::move(stop));
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
