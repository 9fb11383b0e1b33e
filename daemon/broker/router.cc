#include "daemon/broker/router.h"

#include "daemon/base/log.h"

namespace facet::broker {
namespace {

// What the parts of a chat take besides their texts: on the wire an empty one takes a word or none.
uint64_t empty_bytes(const protocol::Prompt& prompt) {
  const auto* chat = std::get_if<protocol::Chat>(&prompt);
  if (chat == nullptr) return 0;
  uint64_t bytes = chat->tools.size() * sizeof(std::string);
  for (const protocol::Message& message : chat->messages) {
    bytes += sizeof message + message.content.size() * sizeof(protocol::ContentPart) +
             message.tool_calls.size() * sizeof(protocol::ToolCall);
  }
  return bytes;
}

}  // namespace

// ---- from sessions

Result<void> Router::generate(Session& session, protocol::Generate&& generate, size_t message_bytes) {
  const Peer& peer = session.peer();
  FACET_TRY(const Grant* grant, policy_.grant_for(peer, generate.priority));
  FACET_TRY(auto model, models_.find(generate.model));
  const uint64_t bytes =
      Policy::bytes_of_request(message_bytes + empty_bytes(generate.prompt), generate.sampling.logprobs);
  const uint32_t choices = std::exchange(generate.choices, 1);
  FACET_CHECK(policy_.admit_requests(peer, session.holding(), choices, bytes));

  Request request;
  request.session = &session;
  request.who = peer;
  request.bytes = bytes;
  request.flow = Flow(generate.credit);
  request.status.app = session.app();
  request.status.sandbox = peer.sandbox;
  request.status.model = model.name;
  request.status.priority = generate.priority;
  generate.model = model.name;
  const Micros deadline = generate.deadline_ms == 0 ? 0 : now_micros() + Micros{generate.deadline_ms} * 1000;
  // In a sandbox the kernel knows the app: its own word counts for nothing.
  request.held = link::Start{model.path,
                             std::move(generate),
                             user_keys_.of({peer.uid}),
                             user_keys_.of(peer),
                             peer.is_sandboxed() ? peer.sandbox : session.app(),
                             grant->weight,
                             deadline};
  for (uint32_t choice = 0; choice + 1 < choices; ++choice) begin(session, Request(request), choice);
  begin(session, std::move(request), choices - 1);
  return {};
}

// `request` holds what the client asked for, with the id and the seed of its first choice.
void Router::begin(Session& session, Request&& request, uint32_t choice) {
  protocol::Generate& its = request.held->request;
  its.id += choice;
  its.sampling.seed += choice;
  request.client_id = its.id;
  const protocol::RequestId client_id = request.client_id;
  const EngineId id = requests_.add(std::move(request));
  session.requests()[client_id] = id;
  if (engine_.ready()) pass_on(id, *requests_.find(id));
}

void Router::cancel(EngineId id) {
  Request* request = requests_.find(id);
  if (!request || request->cancelled) return;
  if (request->held) return end(id, protocol::Finish{0, protocol::FinishReason::kCancelled, {}, {}, {}});
  request->cancelled = true;
  if (engine_.ready()) (void)engine_.send(link::Cancel{id});
}

void Router::credit(EngineId id, uint32_t tokens) {
  Request* request = requests_.find(id);
  if (!request) return;
  request->flow.allow(tokens);
  grant(id, *request);
}

void Router::session_written(Session& session) {
  for (const auto& [client_id, id] : session.requests()) {
    if (Request* request = requests_.find(id)) grant(id, *request);
  }
}

void Router::expire(Micros now) {
  std::vector<EngineId> late;
  for (const auto& [id, request] : requests_.all()) {
    if (request.held && request.held->deadline != 0 && request.held->deadline <= now) late.push_back(id);
  }
  for (const EngineId id : late) fail(id, FACET_DEADLINE, "deadline: no engine was ready before it");
}

void Router::session_ended(Session& session) {
  positions_.session_ended(session);
  const auto open = std::exchange(session.requests(), {});
  for (const auto& [client_id, id] : open) {
    Request& request = *requests_.find(id);
    if (request.held) {
      forget(id);
      continue;
    }
    if (!request.cancelled && engine_.ready()) (void)engine_.send(link::Cancel{id});
    request.cancelled = true;
    request.session = nullptr;
  }
}

// ---- to the engine

void Router::pass_on(EngineId id, Request& request) {
  link::Start start = std::move(*request.held);
  request.held.reset();
  prompts_.before_start(start.request.model, start.path);
  start.request.id = id;
  start.request.credit = request.flow.grant();
  if (auto sent = engine_.send(std::move(start)); !sent) fail(id, sent.error().code, sent.error().message);
}

void Router::grant(EngineId id, Request& request) {
  if (request.held || !engine_.ready() || !request.session || !request.session->keeps_up()) return;
  if (const uint32_t tokens = request.flow.grant()) (void)engine_.send(link::Credit{id, tokens});
}

// ---- from the engine

void Router::engine_ready() {
  load_ = {};
  prompts_.engine_ready();
  std::vector<EngineId> held;
  for (const auto& [id, request] : requests_.all()) {
    if (request.held) held.push_back(id);
  }
  for (const EngineId id : held) {
    if (Request* request = requests_.find(id); request && engine_.ready()) pass_on(id, *request);
  }
}

void Router::engine_said(link::FromEngine&& message) {
  std::visit([this](auto&& one) { said(std::forward<decltype(one)>(one)); }, std::move(message));
}

void Router::said(link::ModelChanged&& message) {
  const protocol::Model& model = message.model;
  models_.changed(model);
  std::string text = "model " + model.name + ": " + protocol::name_of(model.state);
  if (model.state == protocol::ModelState::kFailed) return log::warning(text + ", " + model.error);
  log::info(text);
}

// The request that the engine speaks of; nullptr if it was not given that one or has ended it: it is lost.
Request* Router::passed_on(EngineId id) {
  Request* request = requests_.find(id);
  if (request && !request->held) return request;
  engine_.reject("it speaks of request " + std::to_string(id) + ", which it does not have");
  return nullptr;
}

void Router::said(link::Started&& message) {
  Request* request = passed_on(message.id);
  if (!request) return;
  request->status.running = true;
  request->status.position = request->status.wait_ms = 0;
  request->status.prompt_tokens = message.prompt_tokens;
}

void Router::said(protocol::Token&& message) {
  const EngineId id = message.id;
  Request* request = passed_on(id);
  if (!request) return;
  if (message.sequence != request->flow.received()) {
    return engine_.reject("token " + std::to_string(message.sequence) + " came where " +
                          std::to_string(request->flow.received()) + " was due");
  }
  if (!request->flow.take()) return engine_.reject("a token came that was not granted");
  ++request->status.generated_tokens;
  if (!request->session) return;
  message.id = request->client_id;
  request->session->send(std::move(message));
  grant(id, *request);
}

void Router::said(protocol::Finish&& message) {
  const EngineId id = message.id;
  if (passed_on(id)) end(id, std::move(message));
}

void Router::said(protocol::Failed&& message) {
  const EngineId id = message.id;
  if (passed_on(id)) end(id, std::move(message));
}

void Router::engine_lost(const std::string& why, bool was_ready) {
  load_ = {};
  models_.forget_states();
  std::vector<EngineId> lost;
  for (const auto& [id, request] : requests_.all()) {
    if (!request.held || !was_ready) lost.push_back(id);
  }
  // What was held waits for the next start, but not for one after another that comes to nothing.
  const facet_status code = was_ready ? FACET_ENGINE_LOST : FACET_UNAVAILABLE;
  const std::string message = (was_ready ? "the engine was lost: " : "the engine does not start: ") + why;
  for (const EngineId id : lost) fail(id, code, message);
  positions_.engine_lost();
}

// ---- ending

void Router::fail_all(facet_status code, const std::string& message) {
  while (!requests_.all().empty()) fail(requests_.all().begin()->first, code, message);
}

void Router::fail(EngineId id, facet_status code, const std::string& message) {
  end(id, protocol::Failed{0, code, message});
}

// Tells the client, if it is still there, and forgets the request first: its id is free again for the client.
void Router::end(EngineId id, protocol::ServerMessage&& last) {
  Request* request = requests_.find(id);
  if (!request) return;
  Session* session = request->session;
  const protocol::RequestId client_id = request->client_id;
  if (auto* finish = std::get_if<protocol::Finish>(&last)) finish->id = client_id;
  if (auto* failed = std::get_if<protocol::Failed>(&last)) failed->id = client_id;
  forget(id);
  if (session) session->send(last);
}

void Router::forget(EngineId id) {
  Request* request = requests_.find(id);
  Session* session = request->session;
  policy_.request_ended(request->who, session ? &session->holding() : nullptr, request->bytes);
  if (session) session->requests().erase(request->client_id);
  requests_.remove(id);
}

// ---- for the daemon

void Router::fill(protocol::Status& status, const Peer& asker) const {
  status.running = load_.running;
  status.waiting = load_.waiting;
  status.cache_pages = load_.cache_pages;
  status.cache_pages_free = load_.cache_pages_free;
  status.parked = load_.parked;
  status.evicted = load_.evicted;
  status.cached_tokens = load_.cached_tokens;
  status.computed_tokens = load_.computed_tokens;
  status.registered_prompts = load_.registered_prompts;
  status.registered_tokens = load_.registered_tokens;
  for (const auto& [id, request] : requests_.all()) {
    if (request.held) ++status.waiting;
  }
  for (const EngineId id : requests_.seen_by(asker)) {
    status.requests.push_back(requests_.all().at(id).status);
  }
}

}  // namespace facet::broker
