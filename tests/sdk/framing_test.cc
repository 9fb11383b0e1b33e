#include "sdk/protocol/framing.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "sdk/protocol/codec.h"
#include "tests/sdk/sample_messages.h"

using namespace facet;
using namespace facet::protocol;

namespace {

Bytes stream_of_samples() {
  Bytes stream;
  for (const auto& message : client_samples()) REQUIRE(encode(message, stream).ok());
  return stream;
}

// Gives the stream in pieces and collects the frames.
std::vector<Bytes> frames_in_pieces(const Bytes& stream, size_t piece) {
  FrameReader reader;
  std::vector<Bytes> frames;
  for (size_t at = 0; at < stream.size();) {
    auto space = reader.space();
    size_t n = std::min({piece, stream.size() - at, space.size()});
    std::memcpy(space.data(), stream.data() + at, n);
    reader.filled(n);
    at += n;
    for (;;) {
      auto frame = reader.next();
      REQUIRE(frame.ok());
      if (frame->empty()) break;
      CHECK(reinterpret_cast<uintptr_t>(frame->data()) % 8 == 0);
      frames.emplace_back(frame->begin(), frame->end());
    }
  }
  CHECK(reader.buffered() == 0);
  return frames;
}

Bytes head(std::initializer_list<uint32_t> numbers) {
  Bytes bytes;
  for (uint32_t number : numbers) {
    for (int shift = 0; shift < 32; shift += 8) bytes.push_back(std::byte(number >> shift & 0xFF));
  }
  return bytes;
}

facet_status refusal(const Bytes& bytes, size_t most = kMaxMessageBytes) {
  FrameReader reader(most);
  std::memcpy(reader.space().data(), bytes.data(), bytes.size());
  reader.filled(bytes.size());
  auto frame = reader.next();
  CHECK(reader.next().ok() == frame.ok());  // it stays so
  return frame.ok() ? FACET_OK : frame.error().code;
}

}  // namespace

TEST_CASE("framing: the frames are the same in whatever pieces the bytes come") {
  const Bytes stream = stream_of_samples();
  const auto whole = frames_in_pieces(stream, stream.size());
  CHECK(whole.size() == client_samples().size());
  for (size_t piece : {1, 3, 7, 8, 64, 1000}) CHECK(frames_in_pieces(stream, piece) == whole);
}

TEST_CASE("framing: it says how many bytes are missing") {
  Bytes stream;
  REQUIRE(encode(ClientMessage(sample_generate()), stream).ok());
  FrameReader reader;
  CHECK(reader.missing() == 8);
  for (size_t at = 0; at < stream.size(); ++at) {
    CHECK(reader.missing() > 0);
    CHECK(reader.missing() <= stream.size() - at);
    if (at >= 8) CHECK(reader.missing() <= stream.size() - at);
    reader.space()[0] = stream[at];
    reader.filled(1);
  }
  CHECK(reader.missing() == 0);
  CHECK(reader.next()->size() == stream.size());
  CHECK(reader.missing() == 8);
}

TEST_CASE("framing: a head beyond the bounds is refused as soon as it shows") {
  CHECK(refusal(head({kMaxSegments})) == FACET_TOO_LARGE);  // the number less one
  CHECK(refusal(head({0xFFFFFFFF})) == FACET_TOO_LARGE);
  CHECK(refusal(head({kMaxSegments - 1})) == FACET_OK);
  CHECK(refusal(head({0, 0xFFFFFFFF})) == FACET_TOO_LARGE);
  CHECK(refusal(head({0, kMaxMessageBytes / 8})) == FACET_TOO_LARGE);
  CHECK(refusal(head({0, kMaxMessageBytes / 8 - 1})) == FACET_OK);
  CHECK(refusal(head({1, 10, 10, 0}), 128) == FACET_TOO_LARGE);
  CHECK(refusal(head({2, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF})) == FACET_TOO_LARGE);
}

TEST_CASE("framing: the buffer grows with what came, not with what was announced") {
  FrameReader reader;
  const Bytes announced = head({0, kMaxMessageBytes / 8 - 1});
  std::memcpy(reader.space().data(), announced.data(), announced.size());
  reader.filled(announced.size());
  REQUIRE(reader.next()->empty());
  size_t received = announced.size();
  while (received < kMaxMessageBytes) {
    size_t space = reader.space().size();
    CHECK(space <= received + (8 << 10));
    size_t n = std::min(space, kMaxMessageBytes - received);
    reader.filled(n);
    received += n;
    if (received < kMaxMessageBytes) REQUIRE(reader.next()->empty());
  }
  CHECK(reader.next()->size() == kMaxMessageBytes);
  CHECK(reader.space().size() <= 64 << 10);  // given back
}

TEST_CASE("framing: trimmed after a large frame it keeps what has come and no room for more") {
  const auto fill = [](FrameReader& reader, const Bytes& bytes) {
    for (size_t done = 0; done < bytes.size();) {
      const auto space = reader.space();
      const size_t n = std::min(space.size(), bytes.size() - done);
      std::memcpy(space.data(), bytes.data() + done, n);
      reader.filled(n);
      done += n;
    }
  };
  Bytes large = head({0, (1 << 20) / 8});
  large.resize(large.size() + (1 << 20));
  Bytes next = head({0, 2500});
  next.resize(next.size() + 8 * 2500, std::byte{7});
  FrameReader reader;
  Bytes both = large;
  both.insert(both.end(), next.begin(), next.end() - 8);
  fill(reader, both);
  CHECK(reader.next()->size() == large.size());
  CHECK(reader.next()->empty());
  reader.trim();
  CHECK(reader.buffered() == next.size() - 8);
  CHECK(reader.space().size() + reader.buffered() <= 64 << 10);
  fill(reader, Bytes(8, std::byte{7}));
  const auto frame = reader.next();
  CHECK(std::equal(frame->begin(), frame->end(), next.begin(), next.end()));
}
