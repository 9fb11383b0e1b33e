#include "daemon/broker/policy.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "daemon/broker/flow.h"
#include "daemon/broker/sandbox.h"

namespace facet::broker {
namespace {

Error exhausted(const std::string& what, uint64_t limit) {
  return Error{FACET_EXHAUSTED, what + " (limit " + std::to_string(limit) + ")"};
}

Error exhausted(const std::string& what, const Identity& whose, uint64_t limit) {
  return exhausted(what + " of " + name_of(whose), limit);
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What both allow.
std::vector<std::string> common(const std::vector<std::string>& some,
                                const std::vector<std::string>& others) {
  std::vector<std::string> both;
  std::copy_if(some.begin(), some.end(), std::back_inserter(both),
               [&](const std::string& name) { return contains(others, name); });
  return both;
}

template <typename Number>
Number least(Number a, Number b) {
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

template <typename Number>
bool exceeds(Number wanted, uint64_t quota) {
  return quota != 0 && wanted > quota;
}

}  // namespace

const Grant& Grants::of(const Peer& peer) const {
  if (const auto user = users.find(peer.uid); user != users.end()) return user->second;
  for (const auto& [group, grant] : groups) {
    if (peer.is_in(group)) return grant;
  }
  return everybody;
}

Bounds Grants::bounds_of(const std::string& sandbox) const {
  if (const auto own = sandboxes.find(sandbox); own != sandboxes.end()) return own->second;
  Bounds bounds = sandboxed;
  if (sandbox != kUnknownSandbox) return bounds;
  for (const auto& [name, other] : sandboxes) {
    bounds.classes = common(bounds.classes, other.classes);
    bounds.quota = {least(bounds.quota.connections, other.quota.connections),
                    least(bounds.quota.requests, other.quota.requests),
                    least(bounds.quota.bytes, other.quota.bytes)};
  }
  return bounds;
}

Result<const Grant*> Policy::grant_for(const Peer& peer, protocol::Priority priority) const {
  const Grant& grant = grants_.of(peer);
  const std::string wanted = protocol::name_of(priority);
  auto classes = grant.classes;
  if (peer.is_sandboxed()) classes = common(classes, grants_.bounds_of(peer.sandbox).classes);
  if (contains(classes, wanted)) return &grant;
  std::string allowed;
  for (const auto& name : classes) allowed += (allowed.empty() ? "" : ", ") + name;
  return Error{FACET_DENIED, name_of(peer) + " may not make requests of the class " + wanted +
                                 (allowed.empty() ? ", nor of another" : ", only " + allowed)};
}

std::vector<Policy::Account> Policy::accounts_of(const Peer& peer) const {
  const auto or_else = [](auto own, auto otherwise) { return own == 0 ? otherwise : own; };
  const Quota& user = grants_.of(peer).quota;
  std::vector<Account> accounts = {
      {Identity{peer.uid},
       {or_else(user.connections, limits_.user_connections), or_else(user.requests, limits_.user_requests),
        or_else(user.bytes, limits_.user_bytes)}}};
  if (peer.is_sandboxed()) accounts.push_back({peer, grants_.bounds_of(peer.sandbox).quota});
  return accounts;
}

Holding Policy::held(const Identity& whose) const {
  const auto found = books_.find(whose);
  return found == books_.end() ? Holding() : found->second;
}

// In the books of the user, and of the user's sandbox; those of which nothing is left are closed.
template <typename Change>
void Policy::charge(const Identity& who, Change change) {
  const auto charge_one = [&](const Identity& whose) {
    const auto book = books_.try_emplace(whose).first;
    change(book->second);
    if (book->second.is_empty()) books_.erase(book);
  };
  charge_one(Identity{who.uid});
  if (who.is_sandboxed()) charge_one(who);
}

Result<void> Policy::admit_connection(const Peer& peer) {
  if (connections_ >= limits_.connections) return exhausted("too many connections", limits_.connections);
  for (const auto& [whose, quota] : accounts_of(peer)) {
    if (exceeds(uint64_t{held(whose).connections} + 1, quota.connections)) {
      return exhausted("too many connections", whose, quota.connections);
    }
  }
  charge(peer, [](Holding& holding) { ++holding.connections; });
  ++connections_;
  return {};
}

void Policy::connection_ended(const Identity& who) {
  charge(who, [](Holding& holding) { --holding.connections; });
  --connections_;
}

Result<void> Policy::admit_requests(const Peer& peer, Holding& connection, uint32_t count, uint64_t bytes) {
  if (uint64_t{connection.requests} + count > limits_.open_requests) {
    return exhausted("too many open requests on this connection", limits_.open_requests);
  }
  for (const auto& [whose, quota] : accounts_of(peer)) {
    if (exceeds(uint64_t{held(whose).requests} + count, quota.requests)) {
      return exhausted("too many open requests", whose, quota.requests);
    }
  }
  FACET_CHECK(check_bytes(peer, connection, count * bytes));
  const auto add = [&](Holding& holding) {
    holding.requests += count;
    holding.bytes += count * bytes;
  };
  charge(peer, add);
  add(connection);
  return {};
}

void Policy::request_ended(const Identity& who, Holding* connection, uint64_t bytes) {
  const auto take = [&](Holding& holding) {
    --holding.requests;
    holding.bytes -= bytes;
  };
  charge(who, take);
  if (connection) take(*connection);
}

Result<void> Policy::recharge(const Peer& peer, Holding& connection, uint64_t before, uint64_t now) {
  if (now > before) FACET_CHECK(check_bytes(peer, connection, now - before));
  const auto change = [&](Holding& holding) { holding.bytes = holding.bytes - before + now; };
  charge(peer, change);
  change(connection);
  return {};
}

uint64_t Policy::bytes_of_request(uint64_t message_bytes, uint32_t alternatives) {
  // A token's message: frame, struct, a short text, eight bytes an alternative.
  const uint64_t token_bytes = 128 + 8ull * alternatives;
  return message_bytes + Flow::kWindow * token_bytes;
}

Result<void> Policy::check_bytes(const Peer& peer, const Holding& connection, uint64_t more) const {
  if (connection.bytes + more > limits_.connection_bytes) {
    return exhausted("too many bytes outstanding on this connection", limits_.connection_bytes);
  }
  for (const auto& [whose, quota] : accounts_of(peer)) {
    if (exceeds(held(whose).bytes + more, quota.bytes)) {
      return exhausted("too many bytes outstanding", whose, quota.bytes);
    }
  }
  return {};
}

}  // namespace facet::broker
