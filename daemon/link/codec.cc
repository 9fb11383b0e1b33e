#include "daemon/link/codec.h"

#include <algorithm>

#include "daemon/link/link.capnp.h"
#include "sdk/protocol/codec_frame.h"
#include "sdk/protocol/codec_structs.h"

namespace facet::link {
namespace {

using protocol::check_count;
using protocol::checked_text;
using protocol::kMaxNameBytes;
using protocol::kMaxProseBytes;
using protocol::read;
using protocol::read_text;
using protocol::write;

// ---- from the broker

Result<void> check_settings(size_t count) {
  if (count <= kMaxSettings) return {};
  return Error{FACET_TOO_LARGE, "settings: " + std::to_string(count) + ", at most " +
                                    std::to_string(kMaxSettings) + " are allowed"};
}

Result<void> read(wire::BrokerHello::Reader from, BrokerHello& to) {
  to.version = from.getVersion();
  auto settings = from.getSettings();
  FACET_CHECK(check_settings(settings.size()));
  to.settings.resize(settings.size());
  for (unsigned i = 0; i < settings.size(); ++i) {
    FACET_CHECK(read_text(settings[i], kMaxPathBytes, "a setting", to.settings[i]));
  }
  return {};
}

Result<void> read(wire::Start::Reader from, Start& to) {
  FACET_CHECK(read_text(from.getPath(), kMaxPathBytes, "a model's path", to.path));
  to.user = from.getUser();
  to.reader = from.getReader();
  FACET_CHECK(read_text(from.getApp(), kMaxNameBytes, "an app's name", to.app));
  to.weight = from.getWeight();
  if (!(to.weight >= kLeastWeight && to.weight <= kMostWeight)) {
    return Error{FACET_INVALID_ARGUMENT, "weight: " + std::to_string(to.weight)};
  }
  to.deadline = from.getDeadline();
  if (to.deadline < 0) return Error{FACET_INVALID_ARGUMENT, "deadline: " + std::to_string(to.deadline)};
  return read(from.getRequest(), to.request);
}

Result<void> read(wire::GetPositions::Reader from, GetPositions& to) {
  auto ids = from.getIds();
  FACET_CHECK(check_count(ids.size(), kMaxPositions, "positions"));
  for (const uint64_t id : ids) to.ids.push_back(id);
  return {};
}

Result<void> read(wire::RegisterPrompt::Reader from, RegisterPrompt& to) {
  FACET_CHECK(read_text(from.getName(), kMaxNameBytes, "a prompt's name", to.name));
  FACET_CHECK(read_text(from.getModel(), kMaxNameBytes, "a model's name", to.model));
  FACET_CHECK(read_text(from.getPath(), kMaxPathBytes, "a model's path", to.path));
  FACET_CHECK(read_text(from.getSystem(), kMaxSystemBytes, "a system prompt", to.system));
  to.thinking = from.getThinking();
  return {};
}

Result<void> write_member(const BrokerHello& from, wire::ToEngine::Builder to) {
  auto hello = to.initHello();
  hello.setVersion(from.version);
  FACET_CHECK(check_settings(from.settings.size()));
  auto settings = hello.initSettings(static_cast<unsigned>(from.settings.size()));
  for (unsigned i = 0; i < settings.size(); ++i) {
    FACET_TRY(auto text, checked_text(from.settings[i], kMaxPathBytes, "a setting"));
    settings.set(i, text);
  }
  return {};
}
Result<void> write_member(const Start& from, wire::ToEngine::Builder to) {
  auto start = to.initStart();
  FACET_TRY(auto path, checked_text(from.path, kMaxPathBytes, "a model's path"));
  FACET_TRY(auto app, checked_text(from.app, kMaxNameBytes, "an app's name"));
  start.setPath(path);
  start.setUser(from.user);
  start.setReader(from.reader);
  start.setApp(app);
  start.setWeight(from.weight);
  start.setDeadline(from.deadline);
  return write(from.request, start.initRequest());
}
Result<void> write_member(const Cancel& from, wire::ToEngine::Builder to) {
  return write(from, to.initCancel());
}
Result<void> write_member(const Credit& from, wire::ToEngine::Builder to) {
  return write(from, to.initCredit());
}

Result<void> write_member(const GetPositions& from, wire::ToEngine::Builder to) {
  FACET_CHECK(check_count(from.ids.size(), kMaxPositions, "positions"));
  auto ids = to.initGetPositions().initIds(static_cast<unsigned>(from.ids.size()));
  for (unsigned i = 0; i < ids.size(); ++i) ids.set(i, from.ids[i]);
  return {};
}

Result<void> write_member(const RegisterPrompt& from, wire::ToEngine::Builder to) {
  auto prompt = to.initRegisterPrompt();
  FACET_TRY(auto name, checked_text(from.name, kMaxNameBytes, "a prompt's name"));
  FACET_TRY(auto model, checked_text(from.model, kMaxNameBytes, "a model's name"));
  FACET_TRY(auto path, checked_text(from.path, kMaxPathBytes, "a model's path"));
  FACET_TRY(auto system, checked_text(from.system, kMaxSystemBytes, "a system prompt"));
  prompt.setName(name);
  prompt.setModel(model);
  prompt.setPath(path);
  prompt.setSystem(system);
  prompt.setThinking(from.thinking);
  return {};
}

// ---- from the engine

Result<void> read(wire::EngineHello::Reader from, EngineHello& to) {
  to.version = from.getVersion();
  FACET_CHECK(read_text(from.getEngine(), kMaxNameBytes, "the engine's name", to.engine));
  FACET_CHECK(read_text(from.getBackend(), kMaxNameBytes, "the backend's name", to.backend));
  return read_text(from.getNumerics(), kMaxProseBytes, "the numerics", to.numerics);
}

Result<void> read(facet::wire::Model::Reader from, ModelChanged& to) {
  return read(from, to.model);
}

Result<void> read(wire::Started::Reader from, Started& to) {
  to.id = from.getId();
  to.prompt_tokens = from.getPromptTokens();
  return {};
}

Result<void> read(wire::Load::Reader from, Load& to) {
  to = {from.getRunning(),         from.getWaiting(),        from.getCachePages(),
        from.getCachePagesFree(),  from.getParked(),         from.getEvicted(),
        from.getCachedTokens(),    from.getComputedTokens(), from.getRegisteredPrompts(),
        from.getRegisteredTokens()};
  return {};
}

Result<void> read(wire::Positions::Reader from, Positions& to) {
  auto requests = from.getRequests();
  FACET_CHECK(check_count(requests.size(), kMaxPositions, "positions"));
  for (auto one : requests) {
    to.requests.push_back(
        {one.getId(), one.getPosition(), std::min<uint32_t>(one.getWait(), protocol::kMaxWaitMs)});
  }
  return {};
}

Result<void> write_member(const EngineHello& from, wire::FromEngine::Builder to) {
  auto hello = to.initHello();
  FACET_TRY(auto engine, checked_text(from.engine, kMaxNameBytes, "the engine's name"));
  FACET_TRY(auto backend, checked_text(from.backend, kMaxNameBytes, "the backend's name"));
  FACET_TRY(auto numerics, checked_text(from.numerics, kMaxProseBytes, "the numerics"));
  hello.setVersion(from.version);
  hello.setEngine(engine);
  hello.setBackend(backend);
  hello.setNumerics(numerics);
  return {};
}
Result<void> write_member(const ModelChanged& from, wire::FromEngine::Builder to) {
  return write(from.model, to.initModelChanged());
}
Result<void> write_member(const Started& from, wire::FromEngine::Builder to) {
  auto started = to.initStarted();
  started.setId(from.id);
  started.setPromptTokens(from.prompt_tokens);
  return {};
}
Result<void> write_member(const protocol::Token& from, wire::FromEngine::Builder to) {
  return write(from, to.initToken());
}
Result<void> write_member(const protocol::Finish& from, wire::FromEngine::Builder to) {
  return write(from, to.initFinish());
}
Result<void> write_member(const protocol::Failed& from, wire::FromEngine::Builder to) {
  return write(from, to.initFailed());
}
Result<void> write_member(const Load& from, wire::FromEngine::Builder to) {
  auto load = to.initLoad();
  load.setRunning(from.running);
  load.setWaiting(from.waiting);
  load.setCachePages(from.cache_pages);
  load.setCachePagesFree(from.cache_pages_free);
  load.setParked(from.parked);
  load.setEvicted(from.evicted);
  load.setCachedTokens(from.cached_tokens);
  load.setComputedTokens(from.computed_tokens);
  load.setRegisteredPrompts(from.registered_prompts);
  load.setRegisteredTokens(from.registered_tokens);
  return {};
}

Result<void> write_member(const Positions& from, wire::FromEngine::Builder to) {
  FACET_CHECK(check_count(from.requests.size(), kMaxPositions, "positions"));
  auto requests = to.initPositions().initRequests(static_cast<unsigned>(from.requests.size()));
  for (unsigned i = 0; i < requests.size(); ++i) {
    requests[i].setId(from.requests[i].id);
    requests[i].setPosition(from.requests[i].position);
    requests[i].setWait(from.requests[i].wait_ms);
  }
  return {};
}

// ---- both

template <typename Message, typename Struct, typename Reader>
Result<Message> read_as(Reader from) {
  Message message(std::in_place_type<Struct>);
  FACET_CHECK(read(from, std::get<Struct>(message)));
  return message;
}

template <typename Root, typename Message>
Result<void> encode_as(const Message& message, Bytes& out) {
  return protocol::write_frame<Root>(
      out,
      [&](typename Root::Builder to) {
        return std::visit([&](const auto& from) { return write_member(from, to); }, message);
      },
      kMaxMessageBytes);
}

Error unknown_member(const char* what, unsigned member) {
  return {FACET_UNSUPPORTED, std::string(what) + " of an unknown kind, " + std::to_string(member)};
}

Result<ToEngine> read_member(wire::ToEngine::Reader from) {
  switch (from.which()) {
    case wire::ToEngine::HELLO:
      return read_as<ToEngine, BrokerHello>(from.getHello());
    case wire::ToEngine::START:
      return read_as<ToEngine, Start>(from.getStart());
    case wire::ToEngine::CANCEL:
      return read_as<ToEngine, Cancel>(from.getCancel());
    case wire::ToEngine::CREDIT:
      return read_as<ToEngine, Credit>(from.getCredit());
    case wire::ToEngine::GET_POSITIONS:
      return read_as<ToEngine, GetPositions>(from.getGetPositions());
    case wire::ToEngine::REGISTER_PROMPT:
      return read_as<ToEngine, RegisterPrompt>(from.getRegisterPrompt());
  }
  return unknown_member("a broker's message", from.which());
}

Result<FromEngine> read_member(wire::FromEngine::Reader from) {
  switch (from.which()) {
    case wire::FromEngine::HELLO:
      return read_as<FromEngine, EngineHello>(from.getHello());
    case wire::FromEngine::MODEL_CHANGED:
      return read_as<FromEngine, ModelChanged>(from.getModelChanged());
    case wire::FromEngine::STARTED:
      return read_as<FromEngine, Started>(from.getStarted());
    case wire::FromEngine::TOKEN:
      return read_as<FromEngine, protocol::Token>(from.getToken());
    case wire::FromEngine::FINISH:
      return read_as<FromEngine, protocol::Finish>(from.getFinish());
    case wire::FromEngine::FAILED:
      return read_as<FromEngine, protocol::Failed>(from.getFailed());
    case wire::FromEngine::LOAD:
      return read_as<FromEngine, Load>(from.getLoad());
    case wire::FromEngine::POSITIONS:
      return read_as<FromEngine, Positions>(from.getPositions());
  }
  return unknown_member("an engine's message", from.which());
}

}  // namespace

Result<void> encode(const ToEngine& message, Bytes& out) {
  return encode_as<wire::ToEngine>(message, out);
}

Result<void> encode(const FromEngine& message, Bytes& out) {
  return encode_as<wire::FromEngine>(message, out);
}

Result<ToEngine> decode_to_engine(Frame frame) {
  auto read = [](wire::ToEngine::Reader from) { return read_member(from); };
  return protocol::read_frame<wire::ToEngine>(frame, read, kMaxMessageBytes);
}

Result<FromEngine> decode_from_engine(Frame frame) {
  auto read = [](wire::FromEngine::Reader from) { return read_member(from); };
  return protocol::read_frame<wire::FromEngine>(frame, read, kMaxMessageBytes);
}

}  // namespace facet::link
