#include "sdk/protocol/codec.h"

#include "sdk/protocol/codec_frame.h"
#include "sdk/protocol/codec_structs.h"

namespace facet::protocol {
namespace {

template <typename Message, typename Struct, typename Reader>
Result<Message> read_as(Reader from) {
  Message message(std::in_place_type<Struct>);
  FACET_CHECK(read(from, std::get<Struct>(message)));
  return message;
}

Result<void> write_member(const ClientHello& from, wire::ClientMessage::Builder to) {
  return write(from, to.initHello());
}
Result<void> write_member(const ListModels& from, wire::ClientMessage::Builder to) {
  return write(from, to.initListModels());
}
Result<void> write_member(const Generate& from, wire::ClientMessage::Builder to) {
  return write(from, to.initGenerate());
}
Result<void> write_member(const Cancel& from, wire::ClientMessage::Builder to) {
  return write(from, to.initCancel());
}
Result<void> write_member(const Credit& from, wire::ClientMessage::Builder to) {
  return write(from, to.initCredit());
}
Result<void> write_member(const GetStatus& from, wire::ClientMessage::Builder to) {
  return write(from, to.initStatus());
}

Result<void> write_member(const ServerHello& from, wire::ServerMessage::Builder to) {
  return write(from, to.initHello());
}
Result<void> write_member(const Models& from, wire::ServerMessage::Builder to) {
  return write(from, to.initModels());
}
Result<void> write_member(const Token& from, wire::ServerMessage::Builder to) {
  return write(from, to.initToken());
}
Result<void> write_member(const Finish& from, wire::ServerMessage::Builder to) {
  return write(from, to.initFinish());
}
Result<void> write_member(const Status& from, wire::ServerMessage::Builder to) {
  return write(from, to.initStatus());
}
Result<void> write_member(const Failed& from, wire::ServerMessage::Builder to) {
  return write(from, to.initFailed());
}

Error unknown_member(const char* what, unsigned member) {
  return {FACET_UNSUPPORTED, std::string(what) + " of an unknown kind, " + std::to_string(member)};
}

}  // namespace

Result<void> encode(const ClientMessage& message, Bytes& out) {
  return write_frame<wire::ClientMessage>(out, [&](wire::ClientMessage::Builder to) {
    return std::visit([&](const auto& from) { return write_member(from, to); }, message);
  });
}

Result<void> encode(const ServerMessage& message, Bytes& out) {
  return write_frame<wire::ServerMessage>(out, [&](wire::ServerMessage::Builder to) {
    return std::visit([&](const auto& from) { return write_member(from, to); }, message);
  });
}

Result<ClientMessage> decode_client(Frame frame) {
  return read_frame<wire::ClientMessage>(
      frame, [](wire::ClientMessage::Reader from) -> Result<ClientMessage> {
        switch (from.which()) {
          case wire::ClientMessage::HELLO:
            return read_as<ClientMessage, ClientHello>(from.getHello());
          case wire::ClientMessage::LIST_MODELS:
            return read_as<ClientMessage, ListModels>(from.getListModels());
          case wire::ClientMessage::GENERATE:
            return read_as<ClientMessage, Generate>(from.getGenerate());
          case wire::ClientMessage::CANCEL:
            return read_as<ClientMessage, Cancel>(from.getCancel());
          case wire::ClientMessage::CREDIT:
            return read_as<ClientMessage, Credit>(from.getCredit());
          case wire::ClientMessage::STATUS:
            return read_as<ClientMessage, GetStatus>(from.getStatus());
        }
        return unknown_member("a client's message", from.which());
      });
}

Result<ServerMessage> decode_server(Frame frame) {
  return read_frame<wire::ServerMessage>(frame,
                                         [](wire::ServerMessage::Reader from) -> Result<ServerMessage> {
                                           switch (from.which()) {
                                             case wire::ServerMessage::HELLO:
                                               return read_as<ServerMessage, ServerHello>(from.getHello());
                                             case wire::ServerMessage::MODELS:
                                               return read_as<ServerMessage, Models>(from.getModels());
                                             case wire::ServerMessage::TOKEN:
                                               return read_as<ServerMessage, Token>(from.getToken());
                                             case wire::ServerMessage::FINISH:
                                               return read_as<ServerMessage, Finish>(from.getFinish());
                                             case wire::ServerMessage::STATUS:
                                               return read_as<ServerMessage, Status>(from.getStatus());
                                             case wire::ServerMessage::FAILED:
                                               return read_as<ServerMessage, Failed>(from.getFailed());
                                           }
                                           return unknown_member("a daemon's message", from.which());
                                         });
}

RequestId request_of_client(Frame frame) {
  auto id = read_frame<wire::ClientMessage>(frame, [](wire::ClientMessage::Reader from) -> Result<RequestId> {
    switch (from.which()) {
      case wire::ClientMessage::HELLO:
        return RequestId{0};
      case wire::ClientMessage::LIST_MODELS:
        return from.getListModels().getId();
      case wire::ClientMessage::GENERATE:
        return from.getGenerate().getId();
      case wire::ClientMessage::CANCEL:
        return from.getCancel().getId();
      case wire::ClientMessage::CREDIT:
        return from.getCredit().getId();
      case wire::ClientMessage::STATUS:
        return from.getStatus().getId();
    }
    return RequestId{0};
  });
  return id.ok() ? *id : 0;
}

}  // namespace facet::protocol
