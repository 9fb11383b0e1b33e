// Cap'n Proto's standard stream framing, read from bytes that arrive in any pieces.
//
// A frame is one message as it travels: the number of segments less one and each segment's size in words (all
// uint32, little-endian), padding to a word, then the segments. A word is 8 bytes; every frame is a whole
// number of words.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "daemon/base/result.h"
#include "sdk/protocol/limits.h"

namespace facet::protocol {

// One whole frame. What FrameReader hands out begins at a word's boundary.
using Frame = std::span<const std::byte>;

// What the head of a frame says.
struct FrameHead {
  size_t bytes = 0;  // of the head itself, with its padding
  size_t frame_bytes = 0;
  size_t segments = 0;
  std::array<uint32_t, kMaxSegments> words;  // of each segment; the first `segments` are set
};

// Reads the head that `bytes` begin with; nothing while bytes are missing. too_large for more than
// kMaxSegments segments or a frame over `max_bytes`, as soon as the bytes at hand show it.
Result<std::optional<FrameHead>> read_head(std::span<const std::byte> bytes, size_t max_bytes);

// Cuts a stream into frames. Use: fill space(), tell filled(), take frames with next() until it gives an
// empty one, and again. The buffer grows with the bytes received, never on a head's word alone, and shrinks
// after a large frame.
class FrameReader {
 public:
  explicit FrameReader(size_t max_frame_bytes = kMaxMessageBytes);

  // Where the next bytes of the stream go; never empty. Invalidates frames handed out before.
  std::span<std::byte> space();
  // The first `bytes` of space() are there.
  void filled(size_t bytes);

  // The next whole frame, empty while bytes are missing. Valid until space() is called. too_large: the stream
  // cannot go on, and every later call says the same.
  Result<Frame> next();

  // Gives back what a large frame took. Invalidates frames handed out before. For whoever may wait long for
  // the next bytes.
  void trim();

  // At least so many more bytes are needed before next() gives a frame; 0 if there is one (or an error).
  size_t missing() const;

  // Bytes received and not yet handed out.
  size_t buffered() const { return end_ - begin_; }

 private:
  void resize(size_t capacity);

  size_t max_frame_bytes_;
  std::unique_ptr<std::byte[]> buffer_;  // aligned for a word, as operator new does
  size_t capacity_ = 0;
  size_t begin_ = 0;  // of what was not handed out yet; a multiple of a word
  size_t end_ = 0;
};

}  // namespace facet::protocol
