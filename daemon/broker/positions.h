// Statuses that wait until the engine said where the asker's requests stand.
//
// The engine is asked when a client asks for its status, and for the requests that this client may see alone.
// It is asked one thing at a time: who asks meanwhile waits, and all who may see the same get the same
// answer. A session has one status that waits; what it asks for beyond that, and what the engine leaves open
// for kPatience, is answered with what was known last. So statuses cost the engine little, however many are
// asked for.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/broker/engine_link.h"
#include "daemon/broker/requests.h"
#include "daemon/broker/session.h"

namespace facet::broker {

class Positions {
 public:
  static constexpr Micros kPatience = 250'000;
  // Sends the status that the session asked for under that id.
  using Answer = std::function<void(Session&, protocol::RequestId)>;

  Positions(asio::io_context& loop, EngineLink& engine, Requests& requests, Answer answer)
      : engine_(engine), requests_(requests), answer_(std::move(answer)), timer_(loop) {}

  // Answers now or later.
  void ask(Session& session, protocol::RequestId id);
  // Puts into the requests' statuses what the engine told.
  void said(const link::Positions& told);
  void session_ended(const Session& session);
  void engine_lost();

 private:
  struct Waiting {
    Session* session;
    protocol::RequestId id;
    Micros since;
  };

  // What the session may see and the engine has.
  std::vector<EngineId> wanted_by(const Session& session) const;
  void ask_next();
  template <typename Which>
  void answer_those(Which which);
  void set_timer();

  EngineLink& engine_;
  Requests& requests_;
  Answer answer_;
  asio::steady_timer timer_;
  std::deque<Waiting> waiting_;  // in the order of their coming
  // Of the question that the engine has; none if it is about nothing:
  std::vector<EngineId> asked_;
  Identity asked_for_;
};

}  // namespace facet::broker
