#include "sdk/protocol/codec_frame.h"

#include <cstring>

namespace facet::protocol {
namespace {

constexpr size_t kWord = sizeof(capnp::word);

void append_uint32(uint32_t value, std::vector<std::byte>& out) {
  for (int shift = 0; shift < 32; shift += 8) out.push_back(std::byte(value >> shift & 0xFF));
}

}  // namespace

Result<void> FrameSegments::open(Frame frame, size_t max_bytes) {
  FACET_TRY(auto head, read_head(frame, max_bytes));
  if (!head || head->frame_bytes != frame.size()) {
    return Error{FACET_MALFORMED, "a message's size differs from what its frame says"};
  }
  const std::byte* bytes = frame.data() + head->bytes;
  size_t size = frame.size() - head->bytes;
  words_ = size / kWord;
  if (size > 0 && reinterpret_cast<uintptr_t>(bytes) % alignof(capnp::word) != 0) {
    copy_.resize(words_);
    std::memcpy(copy_.data(), bytes, size);
    bytes = reinterpret_cast<const std::byte*>(copy_.data());
  }
  auto words = reinterpret_cast<const capnp::word*>(bytes);
  count_ = head->segments;
  for (size_t i = 0; i < count_; ++i) {
    segments_[i] = kj::arrayPtr(words, head->words[i]);
    words += head->words[i];
  }
  return {};
}

Result<void> append_frame(kj::ArrayPtr<const kj::ArrayPtr<const capnp::word>> segments, size_t max_bytes,
                          std::vector<std::byte>& out) {
  size_t size = (4 * (segments.size() + 1) + kWord - 1) / kWord * kWord;
  for (auto segment : segments) size += segment.size() * kWord;
  if (size > max_bytes || segments.size() > kMaxSegments) {
    return Error{FACET_TOO_LARGE, "message of " + std::to_string(size) + " bytes, at most " +
                                      std::to_string(max_bytes) + " are allowed"};
  }
  if (out.capacity() < out.size() + size) out.reserve(std::max(2 * out.capacity(), out.size() + size));
  append_uint32(static_cast<uint32_t>(segments.size() - 1), out);
  for (auto segment : segments) append_uint32(static_cast<uint32_t>(segment.size()), out);
  if (segments.size() % 2 == 0) append_uint32(0, out);
  for (auto segment : segments) {
    auto bytes = reinterpret_cast<const std::byte*>(segment.begin());
    out.insert(out.end(), bytes, bytes + segment.size() * kWord);
  }
  return {};
}

}  // namespace facet::protocol
