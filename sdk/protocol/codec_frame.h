// Between a frame's bytes and Cap'n Proto's readers and builders; for codecs only.
//
// Exceptions of Cap'n Proto end here. A reader's traversal is bounded by the size of its own frame: each word
// may be looked at once, so pointers that alias or that claim elements of no size gain nothing. A codec must
// therefore get each pointer field once.
#pragma once

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "sdk/protocol/framing.h"
#include "sdk/protocol/limits.h"

namespace facet::protocol {

// The segments of one frame. Refers to the frame's bytes, or to its own copy if those are not aligned.
class FrameSegments {
 public:
  // malformed unless `frame` is exactly one frame; too_large as read_head().
  Result<void> open(Frame frame, size_t max_bytes);

  kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> get() const {
    return kj::arrayPtr(segments_.data(), count_);
  }
  capnp::ReaderOptions options() const {
    return {.traversalLimitInWords = words_ + 1, .nestingLimit = kMaxNesting};
  }

 private:
  std::array<kj::ArrayPtr<const capnp::word>, kMaxSegments> segments_;
  size_t count_ = 0;
  uint64_t words_ = 0;
  std::vector<uint64_t> copy_;  // words
};

// Appends segments as one frame. too_large over `max_bytes`; then `out` is as before.
Result<void> append_frame(kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments, size_t max_bytes,
                          std::vector<std::byte>& out);

// read(Root::Reader) gives the Result<...> that read_frame returns; it may throw as Cap'n Proto does.
template <typename Root, typename Read>
auto read_frame(Frame frame, Read read, size_t max_bytes = kMaxMessageBytes)
    -> decltype(read(typename Root::Reader())) {
  FrameSegments segments;
  FACET_CHECK(segments.open(frame, max_bytes));
  try {
    capnp::SegmentArrayMessageReader message(segments.get(), segments.options());
    return read(message.getRoot<Root>());
  } catch (const kj::Exception& exception) {
    return Error{FACET_MALFORMED,
                 std::string("message does not decode: ") + exception.getDescription().cStr()};
  }
}

// write(Root::Builder) gives a Result<void>; on an error `out` is as before.
template <typename Root, typename Write>
Result<void> write_frame(std::vector<std::byte>& out, Write write, size_t max_bytes = kMaxMessageBytes) {
  // Holds a token's message with room to spare, so that it takes no allocation; larger ones get more
  // segments.
  capnp::word first[64];
  std::memset(static_cast<void*>(first), 0, sizeof first);
  try {
    capnp::MallocMessageBuilder message(kj::arrayPtr(first, std::size(first)));
    FACET_CHECK(write(message.initRoot<Root>()));
    return append_frame(message.getSegmentsForOutput(), max_bytes, out);
  } catch (const kj::Exception& exception) {
    return Error{FACET_INTERNAL,
                 std::string("message does not encode: ") + exception.getDescription().cStr()};
  }
}

}  // namespace facet::protocol
