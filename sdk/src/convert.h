// Between the values of the public header and those of the protocol.
#pragma once

#include <facet/client.hpp>

#include "daemon/base/result.h"
#include "sdk/protocol/messages.h"

namespace facet::client {

protocol::Generate to_protocol(const GenerateRequest& request);

Token from_protocol(protocol::Token&& token);
std::vector<Part> from_protocol(std::vector<protocol::Part>&& parts);
Model from_protocol(protocol::Model&& model);
Status from_protocol(protocol::Status&& status);
FinishReason from_protocol(protocol::FinishReason reason);
Usage from_protocol(const protocol::Usage& usage);
Timings from_protocol(const protocol::Timings& timings);

inline Error from_protocol(facet::Error&& error) {
  return {error.code, std::move(error.message), std::chrono::milliseconds(error.retry_after_ms)};
}

}  // namespace facet::client
