#include "daemon/broker/broker.h"

#include <sys/socket.h>

#include "daemon/base/log.h"
#include "daemon/broker/sandbox.h"
#include "daemon/broker/service.h"
#include "sdk/protocol/limits.h"

namespace facet::broker {
namespace {

constexpr auto kSweep = std::chrono::seconds(1);
constexpr const char* kServer = "facetd " FACET_VERSION;

// For a connection that has no session: the socket is new, so it takes this much.
void refuse(const UniqueFd& socket, const Error& why) {
  protocol::Bytes frame;
  if (!protocol::encode(protocol::ServerMessage(protocol::Failed{0, why.code, why.message}), frame)) return;
  [[maybe_unused]] auto sent = ::send(socket.get(), frame.data(), frame.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace

Broker::Broker(asio::io_context& loop, Config& config, BoundSocket socket)
    : loop_(loop),
      started_(now_micros()),
      policy_(config.limits, config.grants),
      models_(config.models),
      engine_(loop, launch_of(config), *this),
      router_(loop, engine_, models_, policy_, config.prompts,
              [this](Session& session, protocol::RequestId id) { answer_status(session, id); }),
      listener_(loop, std::move(socket), [this](UniqueFd client) { take_connection(std::move(client)); }),
      signals_(loop, SIGTERM, SIGINT),
      sweep_timer_(loop) {}

void Broker::start() {
  engine_.start();
  listener_.start();
  wait_for_signal();
  sweep();
  notify_ready();
}

// ---- connections

void Broker::take_connection(UniqueFd socket) {
  auto peer = peer_of(socket.get());
  if (!peer) return log::warning(peer.error().message);
  peer->uid = subordinate_uids_.owner_of(peer->uid);
  if (peer->sandbox == kUnknownSandbox && !std::exchange(told_of_unknown_, true)) {
    log::warning("process " + std::to_string(peer->pid) + " of " + name_of(Identity{peer->uid}) +
                 " is in a sandbox or container whose name is not known, or cannot be told to be in none: " +
                 "[policy.sandbox.unknown] says what such have (said once)");
  }
  if (auto admitted = policy_.admit_connection(*peer); !admitted) {
    log::warning("refused a connection: " + admitted.error().message);
    return refuse(socket, admitted.error());
  }
  std::unique_ptr<Session> session(
      new Session(loop_, std::move(socket), *peer, policy_, *this, now_micros()));
  Session& started = *session;
  sessions_.emplace(session.get(), std::move(session));
  started.start();
}

void Broker::session_ended(Session& session) {
  router_.session_ended(session);
  policy_.connection_ended(session.peer());
  sessions_.erase(&session);
  if (ended()) sweep_timer_.cancel();
}

void Broker::sweep() {
  if (ended()) return;
  const Micros now = now_micros();
  for (auto& [key, session] : sessions_) {
    if (session->overdue(now)) session->close();
  }
  router_.expire(now);
  sweep_timer_.expires_after(kSweep);
  sweep_timer_.async_wait([this](const asio::error_code& failed) {
    if (!failed) sweep();
  });
}

// ---- answers

protocol::ServerHello Broker::server_hello() const {
  protocol::ServerHello hello;
  hello.server = kServer;
  hello.features = {protocol::kFeatureChat, protocol::kFeatureDeadline, protocol::kFeatureChoices};
  hello.limits.message_bytes = protocol::kMaxMessageBytes;
  hello.limits.open_requests = policy_.limits().open_requests;
  hello.limits.stop_strings = protocol::kMaxStopStrings;
  hello.limits.logit_biases = protocol::kMaxLogitBiases;
  hello.limits.logprobs = protocol::kMaxLogprobs;
  hello.limits.chat_messages = protocol::kMaxChatMessages;
  hello.limits.content_parts = protocol::kMaxContentParts;
  hello.limits.tool_calls = protocol::kMaxToolCalls;
  hello.limits.arguments_bytes = protocol::kMaxArgumentsBytes;
  hello.limits.tools = protocol::kMaxTools;
  hello.limits.tools_bytes = protocol::kMaxToolsBytes;
  hello.limits.json_nesting = protocol::kMaxJsonNesting;
  hello.limits.chat_parts = protocol::kMaxChatParts;
  hello.limits.choices = protocol::kMaxChoices;
  return hello;
}

Result<void> Broker::generate(Session& session, protocol::Generate&& request, size_t message_bytes) {
  if (stopping_) return Error{FACET_UNAVAILABLE, "facetd is stopping"};
  return router_.generate(session, std::move(request), message_bytes);
}

protocol::Models Broker::models() {
  return {0, models_.list()};
}

void Broker::answer_status(Session& session, protocol::RequestId id) {
  protocol::Status status;
  status.id = id;
  status.server = kServer;
  status.uptime = static_cast<uint64_t>(now_micros() - started_) / 1'000'000;
  status.engine = engine_.state_name();
  status.engine_starts = engine_.starts();
  status.connections = policy_.connections();
  status.backend = engine_.hello().backend;
  router_.fill(status, session.peer());
  session.send(status);
}

// ---- stopping

void Broker::wait_for_signal() {
  signals_.async_wait([this](const asio::error_code& failed, int signal) {
    if (failed) return;
    log::info(std::string("stopping on ") + (signal == SIGTERM ? "SIGTERM" : "SIGINT"));
    stop();
  });
}

void Broker::stop() {
  stopping_ = true;
  notify_stopping();
  listener_.stop();
  router_.fail_all(FACET_UNAVAILABLE, "facetd is stopping");
  for (auto& [key, session] : sessions_) session->fail(FACET_UNAVAILABLE, "facetd is stopping");
  engine_.stop();
}

void Broker::engine_stopped() {
  if (ended()) sweep_timer_.cancel();
}

bool Broker::ended() const {
  return stopping_ && sessions_.empty() && engine_.stopped();
}

}  // namespace facet::broker
