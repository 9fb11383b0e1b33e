// Any bytes as a frame of the link, from either side: decoded or refused, and what is decoded encodes again.
#include <cstdlib>
#include <span>

#include "daemon/link/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace facet::link;
  const Frame frame = std::as_bytes(std::span(data, size));
  Bytes again;
  if (auto message = decode_to_engine(frame); message && !encode(*message, again)) std::abort();
  if (auto message = decode_from_engine(frame); message && !encode(*message, again)) std::abort();
  return 0;
}
