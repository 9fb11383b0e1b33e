#include "sdk/protocol/framing.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace facet::protocol {
namespace {

constexpr size_t kWord = 8;
constexpr size_t kCapacity = 8 << 10;       // of a buffer at rest
constexpr size_t kKeptCapacity = 64 << 10;  // above it, an empty buffer is given back

uint32_t read_uint32(const std::byte* at) {
  return std::to_integer<uint32_t>(at[0]) | std::to_integer<uint32_t>(at[1]) << 8 |
         std::to_integer<uint32_t>(at[2]) << 16 | std::to_integer<uint32_t>(at[3]) << 24;
}

// Bytes of a head with so many segments.
size_t head_bytes(size_t segments) {
  return (4 * (segments + 1) + kWord - 1) / kWord * kWord;
}

}  // namespace

Result<std::optional<FrameHead>> read_head(std::span<const std::byte> bytes, size_t max_bytes) {
  if (bytes.size() < 4) return std::optional<FrameHead>();
  uint64_t segments = uint64_t{read_uint32(bytes.data())} + 1;
  if (segments > kMaxSegments) {
    return Error{FACET_TOO_LARGE, "message of " + std::to_string(segments) + " segments, at most " +
                                      std::to_string(kMaxSegments) + " are allowed"};
  }
  size_t size = head_bytes(segments);
  if (bytes.size() < size) return std::optional<FrameHead>();

  std::optional<FrameHead> head(std::in_place);
  head->bytes = size;
  head->segments = segments;
  uint64_t total = size;
  for (size_t i = 0; i < segments; ++i) {
    head->words[i] = read_uint32(bytes.data() + 4 * (i + 1));
    total += uint64_t{head->words[i]} * kWord;
  }
  if (total > max_bytes) {
    return Error{FACET_TOO_LARGE, "message of " + std::to_string(total) + " bytes, at most " +
                                      std::to_string(max_bytes) + " are allowed"};
  }
  head->frame_bytes = total;
  return head;
}

FrameReader::FrameReader(size_t max_frame_bytes) : max_frame_bytes_(max_frame_bytes) {
  resize(kCapacity);
}

void FrameReader::resize(size_t capacity) {
  std::unique_ptr<std::byte[]> buffer(new std::byte[capacity]);
  size_t size = buffered();
  if (size > 0) std::memcpy(buffer.get(), buffer_.get() + begin_, size);
  buffer_ = std::move(buffer);
  capacity_ = capacity;
  begin_ = 0;
  end_ = size;
}

std::span<std::byte> FrameReader::space() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    trim();
  } else if (begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, buffered());
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == capacity_) resize(2 * capacity_);
  return {buffer_.get() + end_, capacity_ - end_};
}

void FrameReader::trim() {
  if (capacity_ > kKeptCapacity && buffered() <= capacity_ / 4) {
    resize(std::max(kCapacity, std::bit_ceil(buffered())));
  }
}

void FrameReader::filled(size_t bytes) {
  assert(bytes <= capacity_ - end_);
  end_ += bytes;
}

Result<Frame> FrameReader::next() {
  std::span<const std::byte> bytes(buffer_.get() + begin_, buffered());
  FACET_TRY(auto head, read_head(bytes, max_frame_bytes_));
  if (!head || bytes.size() < head->frame_bytes) return Frame();
  begin_ += head->frame_bytes;
  return bytes.first(head->frame_bytes);
}

size_t FrameReader::missing() const {
  std::span<const std::byte> bytes(buffer_.get() + begin_, buffered());
  auto head = read_head(bytes, max_frame_bytes_);
  if (!head.ok()) return 0;
  if (*head) return (*head)->frame_bytes - std::min(bytes.size(), (*head)->frame_bytes);
  size_t segments = bytes.size() < 4 ? 1 : size_t{read_uint32(bytes.data())} + 1;
  return head_bytes(segments) - bytes.size();
}

}  // namespace facet::protocol
