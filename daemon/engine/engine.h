// The engine: owns the models of one device and turns requests into tokens.
//
// It takes the broker's messages (link::ToEngine) and gives its own (link::FromEngine); it knows nothing of
// sockets, users or policy. One thread runs it, and that thread alone touches models, caches and sequences:
// other threads only post messages, and a thread of its own loads models, which it then takes over.
#pragma once

#include <facet/backend.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "daemon/engine/packed_weights.h"
#include "daemon/link/messages.h"

namespace facet::engine {

struct EngineOptions {
  std::string backend;                     // empty: the first that works, in the host's order
  uint32_t threads = 0;                    // of the backend; 0: it chooses
  facet_type cache_type = FACET_TYPE_F16;  // of keys and values, one of graph::kCacheTypes
  uint64_t cache_bytes = 1ull << 30;       // at most this much for all pages of a model
  uint32_t context = 8192;                 // tokens per sequence, at most the model's own
  uint32_t max_sequences = 64;             // that run at once
  uint32_t max_waiting = 1024;             // requests that may wait (Scheduler::has_room)
  uint32_t chunk = 256;                    // rows of a step: how much of a prompt is read at once
  uint32_t slice_micros = 4000;            // of computing, between looks at what was asked meanwhile
  uint32_t background_nice = 5;            // of the device's threads while only background work is there
  PackingOptions packing;
};

class Engine {
 public:
  // Called on the engine's thread, in order. Must not block and must not call back into the engine.
  using Sink = std::function<void(link::FromEngine)>;

  // Opens the backend's device; models are loaded when the first request for them comes, while others go on.
  // unsupported, not_found as the plugin host says.
  static Result<std::unique_ptr<Engine>> create(const EngineOptions& options, Sink sink);
  ~Engine();

  // Works until stop(). Call once, on the thread that is to be the engine's. Throws only what must end the
  // process (device lost, out of memory).
  void run();
  // From any thread.
  void post(link::ToEngine message);
  void stop();

  // What an EngineHello says.
  const link::EngineHello& hello() const;

 private:
  class Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace facet::engine
