// An engine of a test: it listens where facetd connects (--engine-socket) and says what the test has it say.
#pragma once

#include <poll.h>

#include <optional>
#include <string>
#include <utility>

#include "daemon/link/codec.h"
#include "tests/system/process.h"

namespace facet::test {

class ScriptedEngine {
 public:
  explicit ScriptedEngine(const std::string& path) : listening_(listening_socket(path)) {}

  // Takes facetd's next connection and its hello; the one before is closed.
  void accept() {
    pollfd waits = {listening_.get(), POLLIN, 0};
    REQUIRE_MESSAGE(::poll(&waits, 1, 60'000) == 1, "facetd does not connect");
    frames_.emplace(link::kMaxMessageBytes);
    frames_->open(UniqueFd(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    CHECK(receive_as<link::BrokerHello>().version == link::kVersion);
  }
  void accept_and_greet() {
    accept();
    send(link::EngineHello{link::kVersion, "scripted", "none", "none"});
  }

  void send_bytes(std::span<const std::byte> bytes) { frames_->send(bytes); }
  void send(const link::FromEngine& message) {
    link::Bytes bytes;
    REQUIRE(link::encode(message, bytes).ok());
    send_bytes(bytes);
  }
  void send_token(uint64_t id, uint32_t sequence, const std::string& text = "x") {
    send(protocol::Token{id, sequence, 7, text, 0, {}});
  }
  void finish(uint64_t id, uint32_t tokens) {
    send(protocol::Finish{id, protocol::FinishReason::kLength, "", {1, tokens}, {}});
  }

  // Nothing at the link's end. Questions for positions are answered on the way: nobody waits.
  std::optional<link::ToEngine> receive() {
    auto message = receive_any();
    while (message && std::holds_alternative<link::GetPositions>(*message)) {
      send(link::Positions());
      message = receive_any();
    }
    return message;
  }
  // The next question for positions, which must be the next message.
  std::vector<uint64_t> receive_question() {
    const auto message = receive_any();
    REQUIRE_MESSAGE(message, "facetd has closed the link");
    const auto* question = std::get_if<link::GetPositions>(&*message);
    REQUIRE(question);
    return question->ids;
  }
  template <typename Struct>
  Struct receive_as() {
    auto message = receive();
    REQUIRE_MESSAGE(message, "facetd has closed the link");
    REQUIRE_MESSAGE(std::holds_alternative<Struct>(*message), "a message of kind " << message->index());
    return std::get<Struct>(std::move(*message));
  }
  void close() { frames_->close(); }

 private:
  std::optional<link::ToEngine> receive_any() {
    const auto frame = frames_->receive();
    if (frame.empty()) return {};
    return link::decode_to_engine(frame).value();
  }

  UniqueFd listening_;
  std::optional<FrameSocket> frames_;
};

// facetd with a scripted engine and a model that nobody opens.
struct Stage {
  explicit Stage(std::vector<std::string> arguments = {})
      : engine(folder / "engine"), daemon([&] {
          arguments.insert(arguments.end(),
                           {"--engine-socket", folder / "engine", "--model", "/models/m.gguf"});
          return Daemon(arguments);
        }()) {}

  Folder folder;
  ScriptedEngine engine;
  Daemon daemon;
};

}  // namespace facet::test
