// What broker and engine say to each other, as plain C++ values.
//
// The link is a Unix stream socket between the two processes: Cap'n Proto messages of link.capnp, the
// broker's first. The broker chooses the request ids, unique over all its clients; a request's parameters
// travel as the client sent them. The broker trusts nothing that the engine says, and the engine need not
// trust the broker's clients: both bound and check what they decode.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "sdk/protocol/messages.h"

namespace facet::link {

constexpr uint32_t kVersion = 1;
// Of a user's weight.
constexpr double kLeastWeight = 1e-3, kMostWeight = 1e3;
// Of a registered prompt.
constexpr size_t kMaxSystemBytes = 1 << 20;

// ---- from the broker

struct BrokerHello {
  uint32_t version = kVersion;
  std::vector<std::string> settings = {};  // settings::lines() of the engine's table
};

// Starts a request. `request.model` is the model's name, `path` its file. `user` and `reader` are keys of the
// broker, the same in all requests of a link: a user's share, of that `weight`, goes by `user`, and `app`
// divides it; what was read before is found again for the same `reader` alone. `deadline` is that of the
// request by the monotonic clock (now_micros()), which both processes read; 0: none.
struct Start {
  std::string path;
  protocol::Generate request;
  uint64_t user = 0;
  uint64_t reader = 0;
  std::string app = {};
  double weight = 1;
  int64_t deadline = 0;
};

using protocol::Cancel;
// The reader takes so many tokens more. A request starts with its own `credit`, which the broker never leaves
// at 0 (without bound): the engine sends no token beyond what was granted.
using protocol::Credit;

// Where requests stand that wait. The engine answers with Positions, at most every 50 ms while it works; the
// broker asks nothing more before.
struct GetPositions {
  std::vector<uint64_t> ids;
};

// A system prompt that the administrator registered for a model, as in Start: chats that begin with it find
// it read, whoever sends them. Comes before the model's first Start; nothing answers it.
struct RegisterPrompt {
  std::string name;
  std::string model;
  std::string path;
  std::string system;     // the system message's text, at most kMaxSystemBytes
  bool thinking = false;  // of chats in which the model may think
};

using ToEngine = std::variant<BrokerHello, Start, Cancel, Credit, GetPositions, RegisterPrompt>;

// ---- from the engine

struct EngineHello {
  uint32_t version = kVersion;
  std::string engine;   // "facet-engine 0.1.0"
  std::string backend;  // "onednn"
  std::string numerics;
};

// A model changed its state: sent when a load starts, ends or fails.
struct ModelChanged {
  protocol::Model model;
};

// The request left the queue and has its place in the cache.
struct Started {
  uint64_t id = 0;
  uint32_t prompt_tokens = 0;
};

// Counters of the engine, sent when they changed, at most every 100 ms.
struct Load {
  uint32_t running = 0;
  uint32_t waiting = 0;
  uint64_t cache_pages = 0;
  uint64_t cache_pages_free = 0;
  // Since the engine's start: steps that waited for a more urgent one between two slices, requests that gave
  // their place up, tokens of prompts that were not read again, and tokens that went through the model.
  uint64_t parked = 0;
  uint64_t evicted = 0;
  uint64_t cached_tokens = 0;
  uint64_t computed_tokens = 0;
  // Registered prompts that are read and kept, and the tokens of them.
  uint32_t registered_prompts = 0;
  uint64_t registered_tokens = 0;

  bool operator==(const Load&) const = default;
};

struct Position {
  uint64_t id = 0;
  uint32_t position = 0;  // in its class, 1: the next
  uint32_t wait_ms = 0;   // until its first step, an estimate; 0 while its model has not taken it over

  bool operator==(const Position&) const = default;
};

// Of the requests that were asked about those that wait.
struct Positions {
  std::vector<Position> requests;
};

// Token, Finish and Failed carry the broker's id.
using FromEngine = std::variant<EngineHello, ModelChanged, Started, protocol::Token, protocol::Finish,
                                protocol::Failed, Load, Positions>;

}  // namespace facet::link
