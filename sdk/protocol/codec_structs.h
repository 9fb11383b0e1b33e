// One struct of facet.capnp to or from its plain value; for codecs only (it shows generated code).
//
// The checks are those of codec.h. read() may throw kj::Exception for a struct that does not decode: call it
// within read_frame(). Each reads its struct's pointers once.
#pragma once

#include <vector>

#include "daemon/base/result.h"
#include "sdk/protocol/codec_fields.h"
#include "sdk/protocol/facet.capnp.h"
#include "sdk/protocol/messages.h"

namespace facet::protocol {

Result<void> read(wire::ClientHello::Reader from, ClientHello& to);
Result<void> read(wire::ListModels::Reader from, ListModels& to);
Result<void> read(wire::Chat::Reader from, Chat& to);
Result<void> read(wire::Generate::Reader from, Generate& to);
Result<void> read(wire::Cancel::Reader from, Cancel& to);
Result<void> read(wire::Credit::Reader from, Credit& to);
Result<void> read(wire::GetStatus::Reader from, GetStatus& to);
Result<void> read(wire::ServerHello::Reader from, ServerHello& to);
Result<void> read(wire::Model::Reader from, Model& to);
Result<void> read(wire::Models::Reader from, Models& to);
Result<void> read(capnp::List<wire::Part>::Reader from, std::vector<Part>& to);
Result<void> read(wire::Token::Reader from, Token& to);
Result<void> read(wire::Finish::Reader from, Finish& to);
Result<void> read(wire::Status::Reader from, Status& to);
Result<void> read(wire::Failed::Reader from, Failed& to);

Result<void> write(const ClientHello& from, wire::ClientHello::Builder to);
Result<void> write(const ListModels& from, wire::ListModels::Builder to);
Result<void> write(const Chat& from, wire::Chat::Builder to);
Result<void> write(const Generate& from, wire::Generate::Builder to);
Result<void> write(const Cancel& from, wire::Cancel::Builder to);
Result<void> write(const Credit& from, wire::Credit::Builder to);
Result<void> write(const GetStatus& from, wire::GetStatus::Builder to);
Result<void> write(const ServerHello& from, wire::ServerHello::Builder to);
Result<void> write(const Model& from, wire::Model::Builder to);
Result<void> write(const Models& from, wire::Models::Builder to);
// `to` has as many elements as `from`, at most kMaxParts.
Result<void> write(const std::vector<Part>& from, capnp::List<wire::Part>::Builder to);
Result<void> write(const Token& from, wire::Token::Builder to);
Result<void> write(const Finish& from, wire::Finish::Builder to);
Result<void> write(const Status& from, wire::Status::Builder to);
Result<void> write(const Failed& from, wire::Failed::Builder to);

}  // namespace facet::protocol
