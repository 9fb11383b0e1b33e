// The way of a request from a client's session to the engine, and of its tokens back.
//
// A request gets an id of the engine's numbering, waits (*held*) if no engine is ready, and is passed on.
// From then on the engine's words about that id are checked and go to the session under the client's id. It
// ends with one `finish` or `failed` of the engine, or with the engine. When the client goes before that, the
// request is cancelled but stays in the books of its user until it ends: what waits in the engine is bounded,
// too.
#pragma once

#include "daemon/broker/engine_link.h"
#include "daemon/broker/models.h"
#include "daemon/broker/policy.h"
#include "daemon/broker/positions.h"
#include "daemon/broker/prompts.h"
#include "daemon/broker/requests.h"
#include "daemon/broker/session.h"
#include "daemon/broker/user_keys.h"

namespace facet::broker {

class Router {
 public:
  // `answer_status`: see status().
  Router(asio::io_context& loop, EngineLink& engine, Models& models, Policy& policy,
         std::vector<Prompt> prompts, Positions::Answer answer_status)
      : engine_(engine),
        models_(models),
        policy_(policy),
        prompts_(std::move(prompts), models, engine),
        positions_(loop, engine, requests_, std::move(answer_status)) {}

  // ---- from sessions

  // Begins a request for each choice. not_found, denied, too_large or exhausted: nothing was begun.
  Result<void> generate(Session& session, protocol::Generate&& request, size_t message_bytes);
  void cancel(EngineId id);
  void credit(EngineId id, uint32_t tokens);
  void session_written(Session& session);
  // Has the session's status answered, once it is known where its requests stand.
  void status(Session& session, protocol::RequestId id) { positions_.ask(session, id); }
  // Ends what no engine could take before its deadline; the engine keeps those of its own.
  void expire(Micros now);
  // Cancels what the session has open.
  void session_ended(Session& session);

  // ---- from the engine

  void engine_ready();
  void engine_said(link::FromEngine&& message);
  void engine_lost(const std::string& why, bool was_ready);

  // ---- for the daemon

  // Ends every request.
  void fail_all(facet_status code, const std::string& message);
  // Fills in what it knows: requests that `asker` may see, all counts.
  void fill(protocol::Status& status, const Peer& asker) const;

 private:
  void begin(Session& session, Request&& request, uint32_t choice);
  void pass_on(EngineId id, Request& request);
  void grant(EngineId id, Request& request);
  Request* passed_on(EngineId id);
  void fail(EngineId id, facet_status code, const std::string& message);
  void end(EngineId id, protocol::ServerMessage&& last);
  void forget(EngineId id);

  void said(link::EngineHello&&) {}  // the link takes it
  void said(link::ModelChanged&& message);
  void said(link::Started&& message);
  void said(protocol::Token&& message);
  void said(protocol::Finish&& message);
  void said(protocol::Failed&& message);
  void said(link::Load&& message) { load_ = message; }
  void said(link::Positions&& message) { positions_.said(message); }

  EngineLink& engine_;
  Models& models_;
  Policy& policy_;
  const UserKeys user_keys_;
  Prompts prompts_;
  Requests requests_;
  Positions positions_;
  link::Load load_;
};

}  // namespace facet::broker
