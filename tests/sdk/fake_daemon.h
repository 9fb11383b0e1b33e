// A daemon of a test: it listens on a socket of its own and plays a script to each client.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "sdk/protocol/codec.h"

namespace facet::test {

// The daemon's end of one connection.
class Peer {
 public:
  explicit Peer(int descriptor) : descriptor_(descriptor) {}
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  ~Peer();

  // The client's next message; nothing once it is gone, or when `within` passed first.
  std::optional<protocol::ClientMessage> next(std::chrono::milliseconds within = std::chrono::seconds(20));
  // The same, but messages of other kinds are skipped.
  template <typename Message>
  std::optional<Message> next_of() {
    while (auto message = next()) {
      if (auto* wanted = std::get_if<Message>(&*message)) return *wanted;
    }
    return std::nullopt;
  }
  void send(const protocol::ServerMessage& message);
  void send_bytes(std::span<const std::byte> bytes);
  // The client can read what was sent, and nothing more goes either way.
  void shut();

  // Reads the client's hello and answers it.
  void greet(std::vector<std::string> features = {protocol::kFeatureChat}, protocol::Limits limits = {});
  void send_tokens(protocol::RequestId id, uint32_t from, uint32_t to);  // texts "0 ", "1 ", ...
  void send_finish(protocol::RequestId id, uint32_t tokens,
                   protocol::FinishReason reason = protocol::FinishReason::kStop,
                   const std::string& rest = "");

 private:
  int descriptor_;
  protocol::FrameReader reader_;
};

class FakeDaemon {
 public:
  using Script = std::function<void(Peer&)>;

  // Each client gets a thread that plays `script`; at its end the connection closes.
  explicit FakeDaemon(Script script);
  // Waits until all scripts ended.
  ~FakeDaemon();

  const std::string& path() const { return path_; }

 private:
  void accept_clients();

  Script script_;
  std::string folder_;
  std::string path_;
  int listener_;
  std::vector<std::thread> clients_;
  std::thread acceptor_;
};

}  // namespace facet::test
