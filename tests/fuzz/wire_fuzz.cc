// Any bytes as a stream of frames, decoded as both sides would: what decodes must encode again, and decode to
// the same bytes.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "sdk/protocol/codec.h"

using namespace facet::protocol;

namespace {

template <typename Message, typename Decode>
void try_frame(Frame frame, Decode decode) {
  auto message = decode(frame);
  if (!message.ok()) return;
  Bytes once, twice;
  if (!encode(Message(*message), once).ok()) std::abort();
  auto again = decode(once);
  if (!again.ok() || !encode(Message(*again), twice).ok() || once != twice) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FrameReader reader(64 << 10);
  for (size_t at = 0; at < size;) {
    auto space = reader.space();
    size_t n = std::min(space.size(), size - at);
    std::memcpy(space.data(), data + at, n);
    reader.filled(n);
    at += n;
    for (;;) {
      auto frame = reader.next();
      if (!frame.ok()) return 0;
      if (frame->empty()) break;
      try_frame<ClientMessage>(*frame, decode_client);
      try_frame<ServerMessage>(*frame, decode_server);
      (void)request_of_client(*frame);
    }
  }
  return 0;
}
