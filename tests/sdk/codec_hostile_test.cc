// Bytes that no honest peer sends.
#include <capnp/message.h>
#include <capnp/serialize.h>
#include <doctest/doctest.h>

#include <cstring>
#include <functional>
#include <random>

#include "sdk/protocol/codec.h"
#include "sdk/protocol/codec_frame.h"
#include "sdk/protocol/codec_structs.h"
#include "tests/sdk/sample_messages.h"

using namespace facet;
using namespace facet::protocol;

namespace {

std::vector<Bytes> all_samples() {
  std::vector<Bytes> frames;
  for (const auto& message : client_samples()) REQUIRE(encode(message, frames.emplace_back()).ok());
  for (const auto& message : server_samples()) REQUIRE(encode(message, frames.emplace_back()).ok());
  return frames;
}

// Whatever the bytes are: a message that encodes again (or is over a bound that only its bytes met), or an
// error.
void try_both(Frame frame) {
  if (auto message = decode_client(frame); message.ok()) {
    Bytes again;
    CHECK(encode(*message, again).ok());
  } else {
    CHECK(!message.error().message.empty());
  }
  if (auto message = decode_server(frame); message.ok()) {
    Bytes again;
    CHECK(encode(*message, again).ok());
  }
  (void)request_of_client(frame);
}

template <typename Root>
Bytes built(const std::function<void(typename Root::Builder)>& build) {
  Bytes bytes;
  REQUIRE(write_frame<Root>(bytes, [&](typename Root::Builder root) -> Result<void> {
            build(root);
            return {};
          }).ok());
  return bytes;
}

facet_status refusal_by_daemon(const Bytes& bytes) {
  auto message = decode_client(bytes);
  return message.ok() ? FACET_OK : message.error().code;
}

facet_status refusal_by_client(const Bytes& bytes) {
  auto message = decode_server(bytes);
  return message.ok() ? FACET_OK : message.error().code;
}

// One segment of these words.
Bytes frame_of(const std::vector<uint64_t>& words) {
  Bytes bytes(8 + words.size() * 8);
  uint32_t size = static_cast<uint32_t>(words.size());
  std::memcpy(bytes.data() + 4, &size, 4);
  if (size > 0) std::memcpy(bytes.data() + 8, words.data(), words.size() * 8);
  return bytes;
}

uint64_t struct_pointer(int32_t offset, uint16_t data, uint16_t pointers) {
  return static_cast<uint32_t>(offset) << 2 | uint64_t{data} << 32 | uint64_t{pointers} << 48;
}

// `size`: 0 no bits, 2 bytes, 6 pointers, 7 inline composite (then `count` is in words).
uint64_t list_pointer(int32_t offset, uint64_t size, uint64_t count) {
  return (static_cast<uint32_t>(offset) << 2 | 1) | size << 32 | count << 35;
}

}  // namespace

TEST_CASE("hostile bytes: every cut of every message is refused") {
  for (const Bytes& frame : all_samples()) {
    for (size_t size = 0; size < frame.size(); ++size) {
      CHECK_FALSE(decode_client(Frame(frame).first(size)).ok());
      CHECK_FALSE(decode_server(Frame(frame).first(size)).ok());
    }
    Bytes longer = frame;
    longer.resize(frame.size() + 8);
    CHECK_FALSE(decode_client(longer).ok());
    CHECK_FALSE(decode_server(longer).ok());
  }
}

TEST_CASE("hostile bytes: a body cut short under a head that agrees") {
  for (const Bytes& frame : all_samples()) {
    uint32_t segments;
    std::memcpy(&segments, frame.data(), 4);
    if (segments != 0) continue;
    for (uint32_t words = 0; words * 8 + 8 < frame.size(); ++words) {
      Bytes cut(frame.begin(), frame.begin() + 8 + words * 8);
      std::memcpy(cut.data() + 4, &words, 4);
      try_both(cut);
    }
  }
}

TEST_CASE("hostile bytes: every byte and every bit changed") {
  for (const Bytes& frame : all_samples()) {
    for (size_t at = 0; at < frame.size(); ++at) {
      for (unsigned change : {1u, 2u, 4u, 8u, 16u, 32u, 64u, 128u, 255u}) {
        Bytes changed = frame;
        changed[at] ^= std::byte(change);
        try_both(changed);
      }
    }
  }
}

TEST_CASE("hostile bytes: random changes, fixed seed") {
  std::mt19937 random(1);
  const auto samples = all_samples();
  for (int i = 0; i < 20000; ++i) {
    Bytes frame = samples[random() % samples.size()];
    for (unsigned n = 1 + random() % 8; n > 0; --n) {
      if (random() % 4 == 0) {
        // A whole word: pointers are words.
        size_t at = random() % (frame.size() / 8) * 8;
        uint64_t word = uint64_t{random()} << (random() % 33);
        std::memcpy(frame.data() + at, &word, 8);
      } else {
        frame[random() % frame.size()] = std::byte(random());
      }
    }
    try_both(frame);
  }
}

TEST_CASE("hostile bytes: many pointers to one text gain nothing") {
  // A generate whose stop strings are one text of 1,000 bytes, 64 times.
  Bytes honest = built<wire::ClientMessage>([](wire::ClientMessage::Builder root) {
    auto stop = root.initGenerate().initStop(64);
    stop.set(0, std::string(1000, 'x').c_str());
  });
  REQUIRE(refusal_by_daemon(honest) == FACET_OK);
  auto segments = FrameSegments();
  REQUIRE(segments.open(honest, kMaxMessageBytes).ok());

  // The same by hand: root -> ClientMessage -> models-like list of pointers that all lead to one text.
  const uint16_t kServerPointers = 1;
  std::vector<uint64_t> words = {struct_pointer(0, 1, kServerPointers), 0 /* hello */,
                                 struct_pointer(0, 1, 3)};
  words.push_back(1);                       // version
  words.push_back(0);                       // server
  words.push_back(list_pointer(1, 6, 60));  // features
  words.push_back(0);                       // limits
  for (int i = 0; i < 60; ++i) words.push_back(list_pointer(59 - i, 2, 200));
  words.resize(words.size() + 24, 0x6161616161616161);
  words.push_back(0x0061616161616161);
  // The reader may look at each word once: 60 texts of 25 words are more than the message has.
  CHECK(refusal_by_client(frame_of(words)) == FACET_MALFORMED);
  // One of them is fine.
  words[5] = list_pointer(1, 6, 1);
  CHECK(refusal_by_client(frame_of(words)) == FACET_OK);
}

TEST_CASE("hostile bytes: a list of elements without size costs nothing") {
  // features: 2^28 elements of no bits; stop strings likewise.
  std::vector<uint64_t> words = {
      struct_pointer(0, 1, 1), 0, struct_pointer(0, 1, 3), 1, 0, list_pointer(0, 0, (1u << 29) - 1), 0};
  CHECK(refusal_by_client(frame_of(words)) == FACET_MALFORMED);
  // models: an inline composite of 2^29 structs of no words.
  words = {struct_pointer(0, 1, 1), 1,
           struct_pointer(0, 1, 1), 5,
           list_pointer(0, 7, 0),   struct_pointer((1 << 29) - 1, 0, 0)};
  CHECK_FALSE(decode_server(frame_of(words)).ok());
}

TEST_CASE("hostile bytes: the parts of all messages are bounded together") {
  // Each message has as many parts as a message may have.
  const Bytes bytes = built<wire::ClientMessage>([](wire::ClientMessage::Builder root) {
    auto messages =
        root.initGenerate().initPrompt().initChat().initMessages(kMaxChatParts / kMaxContentParts + 1);
    for (auto message : messages) message.initContent(kMaxContentParts);
  });
  auto message = decode_client(bytes);
  REQUIRE_FALSE(message.ok());
  CHECK(message.error().code == FACET_TOO_LARGE);
  CHECK(message.error().message.find("in a chat") != std::string::npos);
}

TEST_CASE("hostile bytes: pointers that lead in circles or far away") {
  // The root points to itself.
  try_both(frame_of({struct_pointer(-1, 0, 1)}));
  CHECK_FALSE(decode_client(frame_of({0xFFFFFFFFFFFFFFFF})).ok());
  // A far pointer to a segment that is not there; to itself.
  CHECK_FALSE(decode_client(frame_of({uint64_t{7} << 32 | 2})).ok());
  CHECK_FALSE(decode_client(frame_of({2})).ok());
  CHECK_FALSE(decode_client(frame_of({6, 0})).ok());
  CHECK_FALSE(decode_client(frame_of({})).ok());
}

TEST_CASE("hostile bytes: lists over a bound are refused by name") {
  CHECK(refusal_by_daemon(built<wire::ClientMessage>(
            [](auto root) { root.initGenerate().initStop(kMaxStopStrings + 1); })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().initSampling().initLogitBias(kMaxLogitBiases + 1);
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initHello().setApp(std::string(kMaxNameBytes + 1, 'x').c_str());
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().initSampling().setLogprobs(kMaxLogprobs + 1);
        })) == FACET_TOO_LARGE);
  for (const uint32_t deadline : {uint32_t{kMaxDeadlineMs} + 1, ~uint32_t{0}}) {
    CHECK(refusal_by_daemon(built<wire::ClientMessage>(
              [&](auto root) { root.initGenerate().setDeadline(deadline); })) == FACET_TOO_LARGE);
  }
  for (const uint32_t choices : {uint32_t{kMaxChoices} + 1, ~uint32_t{0}}) {
    CHECK(refusal_by_daemon(built<wire::ClientMessage>(
              [&](auto root) { root.initGenerate().setChoices(choices); })) == FACET_TOO_LARGE);
  }
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().initPrompt().initChat().initMessages(kMaxChatMessages + 1);
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().initPrompt().initChat().initMessages(1)[0].initContent(kMaxContentParts + 1);
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().initPrompt().initChat().initMessages(1)[0].initToolCalls(kMaxToolCalls + 1);
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          auto call = root.initGenerate().initPrompt().initChat().initMessages(1)[0].initToolCalls(1)[0];
          call.setArguments(std::string(kMaxArgumentsBytes + 1, ' ').c_str());
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().initPrompt().initChat().initTools(kMaxTools + 1);
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          auto tools = root.initGenerate().initPrompt().initChat().initTools(2);
          for (int i = 0; i < 2; ++i) tools.set(i, std::string(kMaxToolsBytes / 2 + 1, ' ').c_str());
        })) == FACET_TOO_LARGE);
  CHECK(refusal_by_client(built<wire::ServerMessage>(
            [](auto root) { root.initToken().initParts(kMaxParts + 1); })) == FACET_TOO_LARGE);
  CHECK(refusal_by_client(built<wire::ServerMessage>(
            [](auto root) { root.initToken().initAlternatives(kMaxLogprobs + 1); })) == FACET_TOO_LARGE);
  CHECK(refusal_by_client(built<wire::ServerMessage>(
            [](auto root) { root.initModels().initModels(kMaxModels + 1); })) == FACET_TOO_LARGE);
}

TEST_CASE("hostile bytes: members that we do not know are unsupported, texts that are none malformed") {
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().setPriority(static_cast<wire::Priority>(9));
        })) == FACET_UNSUPPORTED);
  CHECK(refusal_by_client(built<wire::ServerMessage>([](auto root) {
          root.initFinish().setReason(static_cast<wire::FinishReason>(5));
        })) == FACET_UNSUPPORTED);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          auto message = root.initGenerate().initPrompt().initChat().initMessages(1)[0];
          message.setRole(static_cast<wire::Role>(5));
        })) == FACET_UNSUPPORTED);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) {
          root.initGenerate().initPrompt().initChat().initMessages(1)[0].initContent(1)[0].setReserved();
        })) == FACET_UNSUPPORTED);
  CHECK(refusal_by_daemon(frame_of({struct_pointer(0, 1, 1), 77, 0})) == FACET_UNSUPPORTED);
  CHECK(refusal_by_client(frame_of({struct_pointer(0, 1, 1), 77, 0})) == FACET_UNSUPPORTED);
  CHECK(refusal_by_daemon(built<wire::ClientMessage>([](auto root) { root.initHello().setApp("\xFF"); })) ==
        FACET_MALFORMED);
  CHECK(refusal_by_client(built<wire::ServerMessage>([](auto root) { root.initFailed(); })) ==
        FACET_MALFORMED);
}

TEST_CASE("hostile bytes: a wait longer than any is read as the longest") {
  auto message = decode_server(built<wire::ServerMessage>(
      [](auto root) { root.initStatus().initRequests(1)[0].setWait(~uint32_t{0}); }));
  REQUIRE(message.ok());
  CHECK(std::get<Status>(*message).requests.at(0).wait_ms == kMaxWaitMs);
}

TEST_CASE("hostile bytes: a failure with a later version's code keeps its message") {
  Bytes bytes = built<wire::ServerMessage>([](auto root) {
    auto failed = root.initFailed();
    failed.setId(5);
    failed.setCode(99);
    failed.setMessage("why");
    failed.setRetryAfter(~uint32_t{0});
  });
  auto message = decode_server(bytes);
  REQUIRE(message.ok());
  CHECK(std::get<Failed>(*message).code == FACET_INTERNAL);
  CHECK(std::get<Failed>(*message).message == "why (status 99)");
  CHECK(std::get<Failed>(*message).retry_after_ms == kMaxRetryAfterMs);
}
