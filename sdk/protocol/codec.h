// Messages to bytes and back.
//
// Both directions check the same things: the bounds of limits.h (too_large), that texts are UTF-8 (encoding:
// invalid_argument, decoding: malformed), that enums and unions have members we know (unsupported). They do
// not judge what a message asks for: a temperature of NaN or an id of 0 passes. Sentences for people
// (Failed::message, Model::error) are never refused by encode: it cuts and repairs them.
//
// Any bytes may be given to decode: it never crashes, reads no byte twice through aliased pointers, and what
// it allocates is in proportion to the frame. Functions here have no state and may run in any thread.
#pragma once

#include <cstddef>
#include <vector>

#include "daemon/base/result.h"
#include "sdk/protocol/framing.h"
#include "sdk/protocol/messages.h"

namespace facet::protocol {

using Bytes = std::vector<std::byte>;

// Appends the message as one frame; on an error `out` is as before.
Result<void> encode(const ClientMessage& message, Bytes& out);
Result<void> encode(const ServerMessage& message, Bytes& out);

Result<ClientMessage> decode_client(Frame frame);
Result<ServerMessage> decode_server(Frame frame);

// The request that a frame of a client is about, read without the checks above: for answering a message that
// decode_client refused. 0 if it is about none or cannot be read.
RequestId request_of_client(Frame frame);

}  // namespace facet::protocol
