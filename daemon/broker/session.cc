#include "daemon/broker/session.h"

#include "daemon/base/log.h"
#include "sdk/protocol/limits.h"

namespace facet::broker {
namespace {

constexpr Micros kHelloTimeout = 10'000'000;
constexpr Micros kFinishTimeout = 3'000'000;
// A client that does not read its answers is not asked for more questions beyond this, and closed beyond
// that.
constexpr size_t kHoldInputAbove = 256 << 10;
constexpr size_t kMaxUnsent = 64 << 20;
// Part of a message that is not worth an entry in the books.
constexpr size_t kFreePartial = 16 << 10;

}  // namespace

Session::Session(asio::io_context& loop, UniqueFd socket, const Peer& peer, Policy& policy, Handler& handler,
                 Micros now)
    : channel_(loop, std::move(socket), protocol::kMaxMessageBytes, *this),
      peer_(peer),
      policy_(policy),
      handler_(handler),
      app_(app_name("", peer)),
      deadline_(now + kHelloTimeout) {}

// ---- sending

void Session::send(const protocol::ServerMessage& message) {
  if (finishing_) return;
  scratch_.clear();
  if (auto encoded = protocol::encode(message, scratch_); !encoded) {
    log::error(log_name() + ": an answer cannot be sent: " + encoded.error().message);
    return fail(FACET_INTERNAL, "an answer cannot be sent: " + encoded.error().message);
  }
  channel_.send(scratch_);
  if (channel_.unsent() > kHoldInputAbove) channel_.hold_input(true);
  if (channel_.unsent() > kMaxUnsent) {
    log::warning(log_name() + ": closed, it does not read its answers");
    channel_.close();
  }
}

void Session::fail(facet_status code, const std::string& message) {
  if (finishing_) return;
  scratch_.clear();
  if (protocol::encode(protocol::ServerMessage(protocol::Failed{0, code, message}), scratch_)) {
    channel_.send(scratch_);
  }
  finishing_ = true;
  deadline_ = now_micros() + kFinishTimeout;
  channel_.finish();
}

std::string Session::log_name() const {
  return app_ + (peer_.is_sandboxed() ? " in " + peer_.sandbox : "");
}

bool Session::overdue(Micros now) const {
  return (!greeted_ || finishing_) && now > deadline_;
}

// ---- receiving

void Session::on_frame(protocol::Frame frame) {
  if (partial_ > 0) on_partial(0);
  auto message = protocol::decode_client(frame);
  if (!message) return refuse(frame, message.error());
  const bool is_hello = std::holds_alternative<protocol::ClientHello>(*message);
  if (is_hello == greeted_) {
    return fail(FACET_MALFORMED, is_hello ? "the hello came twice" : "the first message is no hello");
  }
  if (auto* generate = std::get_if<protocol::Generate>(&*message)) return take(*generate, frame.size());
  std::visit(
      [this](auto& one) {
        if constexpr (!std::is_same_v<std::decay_t<decltype(one)>, protocol::Generate>) take(one);
      },
      *message);
}

// A message that the codec refused. If it is a request under a free id, only that request fails.
void Session::refuse(protocol::Frame frame, const Error& why) {
  const protocol::RequestId id = protocol::request_of_client(frame);
  const bool whole = why.code == FACET_TOO_LARGE || why.code == FACET_UNSUPPORTED;
  if (greeted_ && whole && id != 0 && !requests_.contains(id)) {
    return send(protocol::Failed{id, why.code, why.message});
  }
  log::warning(log_name() + ": closed, " + why.message);
  fail(why.code, why.message);
}

bool Session::is_usable(protocol::RequestId id) {
  if (id == 0) {
    fail(FACET_INVALID_ARGUMENT, "a request's id is 0");
    return false;
  }
  if (requests_.contains(id)) {
    fail(FACET_INVALID_ARGUMENT, "request " + std::to_string(id) + " is open already");
    return false;
  }
  return true;
}

void Session::take(const protocol::ClientHello& hello) {
  app_ = app_name(hello.app, peer_);
  if (hello.version_min > protocol::kVersion || hello.version_max < protocol::kVersion) {
    return fail(FACET_VERSION_MISMATCH, "this daemon speaks version " + std::to_string(protocol::kVersion) +
                                            ", the app " + std::to_string(hello.version_min) + " to " +
                                            std::to_string(hello.version_max));
  }
  greeted_ = true;
  log::debug(app_ + ": connected, " + name_of(peer_) + ", process " + std::to_string(peer_.pid));
  send(handler_.server_hello());
}

void Session::take(protocol::ListModels message) {
  if (!is_usable(message.id)) return;
  auto models = handler_.models();
  models.id = message.id;
  send(models);
}

void Session::take(protocol::GetStatus message) {
  if (!is_usable(message.id)) return;
  handler_.status(*this, message.id);
}

void Session::take(protocol::Generate& message, size_t message_bytes) {
  const protocol::RequestId id = message.id;
  const uint32_t choices = message.choices;
  for (uint32_t choice = 0; choice < choices; ++choice) {
    if (!is_usable(id + choice)) return;
  }
  auto begun = handler_.generate(*this, std::move(message), message_bytes);
  if (begun) return;
  const Error& why = begun.error();
  for (uint32_t choice = 0; choice < choices; ++choice) {
    send(protocol::Failed{id + choice, why.code, why.message, why.retry_after_ms});
  }
}

// One that is not open may have ended while the message was on its way.
void Session::take(protocol::Cancel message) {
  if (auto open = requests_.find(message.id); open != requests_.end()) handler_.cancel(open->second);
}

void Session::take(protocol::Credit message) {
  if (auto open = requests_.find(message.id); open != requests_.end()) {
    handler_.credit(open->second, message.tokens);
  }
}

void Session::on_partial(size_t bytes) {
  const uint64_t now = bytes > kFreePartial ? bytes : 0;
  auto charged = policy_.recharge(peer_, holding_, partial_, now);
  if (!charged) return fail(charged.error().code, charged.error().message);
  partial_ = now;
}

void Session::on_unreadable(const Error& why) {
  log::warning(log_name() + ": closed, " + why.message);
  fail(why.code, why.message);
}

void Session::on_written() {
  channel_.hold_input(false);
  handler_.session_written(*this);
}

void Session::on_ended(const Error& why) {
  if (why.code == FACET_IO) log::warning(log_name() + ": closed, " + why.message);
  if (auto freed = policy_.recharge(peer_, holding_, partial_, 0)) partial_ = 0;
  handler_.session_ended(*this);
}

}  // namespace facet::broker
