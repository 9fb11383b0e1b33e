#include "daemon/broker/policy.h"

#include <string>

#include "daemon/broker/flow.h"

namespace facet::broker {
namespace {

Error exhausted(const std::string& what, uint64_t limit) {
  return Error{FACET_EXHAUSTED, what + " (limit " + std::to_string(limit) + ")"};
}

}  // namespace

const Grant& Grants::of(const Peer& peer) const {
  if (const auto user = users.find(peer.uid); user != users.end()) return user->second;
  for (const auto& [group, grant] : groups) {
    if (peer.is_in(group)) return grant;
  }
  return everybody;
}

Result<const Grant*> Policy::grant_for(const Peer& peer, protocol::Priority priority) const {
  const Grant& grant = grants_.of(peer);
  const std::string wanted = protocol::name_of(priority);
  std::string allowed;
  for (const auto& name : grant.classes) {
    if (name == wanted) return &grant;
    allowed += (allowed.empty() ? "" : ", ") + name;
  }
  return Error{FACET_DENIED, "user " + std::to_string(peer.uid) + " may not make requests of the class " +
                                 wanted + (allowed.empty() ? ", nor of another" : ", only " + allowed)};
}

Result<void> Policy::admit_connection(uid_t user) {
  if (connections_ >= limits_.connections) return exhausted("too many connections", limits_.connections);
  Holding& holding = users_[user];
  if (holding.connections >= limits_.user_connections) {
    return exhausted("too many connections of user " + std::to_string(user), limits_.user_connections);
  }
  ++holding.connections;
  ++connections_;
  return {};
}

void Policy::connection_ended(uid_t user) {
  --users_[user].connections;
  --connections_;
  forget_if_idle(user);
}

Result<void> Policy::admit_requests(uid_t user, Holding& connection, uint32_t count, uint64_t bytes) {
  Holding& holding = users_[user];
  if (uint64_t{connection.requests} + count > limits_.open_requests) {
    return exhausted("too many open requests on this connection", limits_.open_requests);
  }
  if (uint64_t{holding.requests} + count > limits_.user_requests) {
    return exhausted("too many open requests of user " + std::to_string(user), limits_.user_requests);
  }
  FACET_CHECK(check_bytes(user, connection, count * bytes));
  for (Holding* held : {&holding, &connection}) {
    held->requests += count;
    held->bytes += count * bytes;
  }
  return {};
}

void Policy::request_ended(uid_t user, Holding* connection, uint64_t bytes) {
  for (Holding* held : {&users_[user], connection}) {
    if (!held) continue;
    --held->requests;
    held->bytes -= bytes;
  }
  forget_if_idle(user);
}

Result<void> Policy::recharge(uid_t user, Holding& connection, uint64_t before, uint64_t now) {
  if (now > before) FACET_CHECK(check_bytes(user, connection, now - before));
  for (Holding* held : {&users_[user], &connection}) held->bytes = held->bytes - before + now;
  forget_if_idle(user);
  return {};
}

uint64_t Policy::bytes_of_request(uint64_t message_bytes, uint32_t alternatives) {
  // A token's message: frame, struct, a short text, eight bytes an alternative.
  const uint64_t token_bytes = 128 + 8ull * alternatives;
  return message_bytes + Flow::kWindow * token_bytes;
}

Result<void> Policy::check_bytes(uid_t user, const Holding& connection, uint64_t more) const {
  if (connection.bytes + more > limits_.connection_bytes) {
    return exhausted("too many bytes outstanding on this connection", limits_.connection_bytes);
  }
  const auto held = users_.find(user);
  if (held != users_.end() && held->second.bytes + more > limits_.user_bytes) {
    return exhausted("too many bytes outstanding of user " + std::to_string(user), limits_.user_bytes);
  }
  return {};
}

void Policy::forget_if_idle(uid_t user) {
  const auto held = users_.find(user);
  if (held == users_.end()) return;
  const Holding& holding = held->second;
  if (holding.connections == 0 && holding.requests == 0 && holding.bytes == 0) users_.erase(held);
}

}  // namespace facet::broker
