// The link's messages to bytes and back, with the checks and promises of sdk/protocol/codec.h.
#pragma once

#include "daemon/base/result.h"
#include "daemon/link/messages.h"
#include "sdk/protocol/codec.h"
#include "sdk/protocol/limits.h"

namespace facet::link {

using protocol::Bytes;
using protocol::Frame;

constexpr size_t kMaxPathBytes = 4096;
constexpr size_t kMaxSettings = 64;
constexpr size_t kMaxPositions = protocol::kMaxRequestStatuses;
// Of a frame: a client's largest request fits with its model's path and name.
constexpr size_t kMaxMessageBytes = protocol::kMaxMessageBytes + 2 * kMaxPathBytes;

// Appends the message as one frame; on an error `out` is as before.
Result<void> encode(const ToEngine& message, Bytes& out);
Result<void> encode(const FromEngine& message, Bytes& out);

Result<ToEngine> decode_to_engine(Frame frame);
Result<FromEngine> decode_from_engine(Frame frame);

}  // namespace facet::link
