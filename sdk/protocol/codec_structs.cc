#include "sdk/protocol/codec_structs.h"

#include <algorithm>

#include "sdk/protocol/limits.h"
#include "sdk/protocol/utf8.h"

namespace facet::protocol {
namespace {

Result<void> read(wire::Sampling::Reader from, Sampling& to) {
  to.temperature = from.getTemperature();
  to.top_k = from.getTopK();
  to.top_p = from.getTopP();
  to.min_p = from.getMinP();
  to.repeat_penalty = from.getRepeatPenalty();
  to.repeat_last_n = from.getRepeatLastN();
  to.presence_penalty = from.getPresencePenalty();
  to.frequency_penalty = from.getFrequencyPenalty();
  to.seed = from.getSeed();
  to.report_logprobs = from.getReportLogprobs();
  to.logprobs = from.getLogprobs();
  auto biases = from.getLogitBias();
  FACET_CHECK(check_count(biases.size(), kMaxLogitBiases, "logit biases"));
  to.logit_bias.clear();
  to.logit_bias.reserve(biases.size());
  for (auto bias : biases) to.logit_bias.emplace_back(bias.getToken(), bias.getBias());
  return check_count(to.logprobs, kMaxLogprobs, "alternatives per token");
}

Result<void> write(const Sampling& from, wire::Sampling::Builder to) {
  FACET_CHECK(check_count(from.logit_bias.size(), kMaxLogitBiases, "logit biases"));
  FACET_CHECK(check_count(from.logprobs, kMaxLogprobs, "alternatives per token"));
  to.setTemperature(from.temperature);
  to.setTopK(from.top_k);
  to.setTopP(from.top_p);
  to.setMinP(from.min_p);
  to.setRepeatPenalty(from.repeat_penalty);
  to.setRepeatLastN(from.repeat_last_n);
  to.setPresencePenalty(from.presence_penalty);
  to.setFrequencyPenalty(from.frequency_penalty);
  to.setSeed(from.seed);
  to.setReportLogprobs(from.report_logprobs);
  to.setLogprobs(from.logprobs);
  if (from.logit_bias.empty()) return {};
  auto biases = to.initLogitBias(from.logit_bias.size());
  for (unsigned i = 0; i < biases.size(); ++i) {
    biases[i].setToken(from.logit_bias[i].first);
    biases[i].setBias(from.logit_bias[i].second);
  }
  return {};
}

Result<void> read(wire::RequestStatus::Reader from, RequestStatus& to) {
  FACET_CHECK(read_text(from.getApp(), kMaxNameBytes, "an app's name", to.app));
  FACET_CHECK(read_text(from.getModel(), kMaxNameBytes, "a model's name", to.model));
  FACET_CHECK(read_enum(from.getPriority(), Priority::kBackground, "a priority", to.priority));
  to.running = from.getRunning();
  to.prompt_tokens = from.getPromptTokens();
  to.generated_tokens = from.getGeneratedTokens();
  to.position = from.getPosition();
  to.wait_ms = std::min<uint32_t>(from.getWait(), kMaxWaitMs);
  return read_text(from.getSandbox(), kMaxNameBytes, "a sandbox's name", to.sandbox);
}

Result<void> write(const RequestStatus& from, wire::RequestStatus::Builder to) {
  FACET_TRY(auto app, checked_text(from.app, kMaxNameBytes, "an app's name"));
  FACET_TRY(auto model, checked_text(from.model, kMaxNameBytes, "a model's name"));
  FACET_TRY(auto sandbox, checked_text(from.sandbox, kMaxNameBytes, "a sandbox's name"));
  to.setApp(app);
  to.setSandbox(sandbox);
  to.setModel(model);
  to.setPriority(wire_enum<wire::Priority>(from.priority));
  to.setRunning(from.running);
  to.setPromptTokens(from.prompt_tokens);
  to.setGeneratedTokens(from.generated_tokens);
  to.setPosition(from.position);
  to.setWait(std::min<uint32_t>(from.wait_ms, kMaxWaitMs));
  return {};
}

Result<void> read_prompt(wire::Generate::Prompt::Reader from, Prompt& to) {
  switch (from.which()) {
    case wire::Generate::Prompt::TEXT:
      return read_text(from.getText(), kMaxMessageBytes, "the prompt", to.emplace<std::string>());
    case wire::Generate::Prompt::IDS: {
      auto ids = from.getIds();
      FACET_CHECK(check_count(ids.size(), kMaxMessageBytes / sizeof(uint32_t), "prompt tokens"));
      auto& tokens = to.emplace<TokenIds>(ids.size());
      for (unsigned i = 0; i < ids.size(); ++i) tokens[i] = ids[i];
      return {};
    }
    case wire::Generate::Prompt::CHAT:
      return read(from.getChat(), to.emplace<Chat>());
  }
  return Error{FACET_UNSUPPORTED, "a prompt of an unknown kind, " + std::to_string(from.which())};
}

Result<void> write_prompt(const Prompt& from, wire::Generate::Prompt::Builder to) {
  if (auto text = std::get_if<std::string>(&from)) {
    FACET_TRY(auto checked, checked_text(*text, kMaxMessageBytes, "the prompt"));
    to.setText(checked);
    return {};
  }
  if (auto chat = std::get_if<Chat>(&from)) return write(*chat, to.initChat());
  auto& tokens = std::get<TokenIds>(from);
  FACET_CHECK(check_count(tokens.size(), kMaxMessageBytes / sizeof(uint32_t), "prompt tokens"));
  auto ids = to.initIds(tokens.size());
  for (unsigned i = 0; i < ids.size(); ++i) ids.set(i, tokens[i]);
  return {};
}

Result<void> check_deadline(uint32_t deadline_ms) {
  if (deadline_ms <= kMaxDeadlineMs) return {};
  return Error{FACET_TOO_LARGE, "the deadline is " + std::to_string(deadline_ms) + " ms away, at most " +
                                    std::to_string(kMaxDeadlineMs) + " are allowed"};
}

}  // namespace

// ---- from the client

Result<void> read(wire::ClientHello::Reader from, ClientHello& to) {
  to.version_min = from.getVersionMin();
  to.version_max = from.getVersionMax();
  return read_text(from.getApp(), kMaxNameBytes, "the app's name", to.app);
}

Result<void> write(const ClientHello& from, wire::ClientHello::Builder to) {
  FACET_TRY(auto app, checked_text(from.app, kMaxNameBytes, "the app's name"));
  to.setVersionMin(from.version_min);
  to.setVersionMax(from.version_max);
  to.setApp(app);
  return {};
}

Result<void> read(wire::ListModels::Reader from, ListModels& to) {
  to.id = from.getId();
  return {};
}

Result<void> write(const ListModels& from, wire::ListModels::Builder to) {
  to.setId(from.id);
  return {};
}

Result<void> read(wire::Generate::Reader from, Generate& to) {
  to.id = from.getId();
  FACET_CHECK(read_text(from.getModel(), kMaxNameBytes, "the model's name", to.model));
  FACET_CHECK(read_prompt(from.getPrompt(), to.prompt));
  to.deadline_ms = from.getDeadline();
  FACET_CHECK(check_deadline(to.deadline_ms));
  to.choices = std::max(from.getChoices(), 1u);
  FACET_CHECK(check_count(to.choices, kMaxChoices, "choices"));
  to.parse_special = from.getParseSpecial();
  to.max_tokens = from.getMaxTokens();
  auto stop = from.getStop();
  FACET_CHECK(check_count(stop.size(), kMaxStopStrings, "stop strings"));
  to.stop.resize(stop.size());
  for (unsigned i = 0; i < stop.size(); ++i) {
    FACET_CHECK(read_text(stop[i], kMaxStopBytes, "a stop string", to.stop[i]));
  }
  to.ignore_end = from.getIgnoreEnd();
  FACET_CHECK(read(from.getSampling(), to.sampling));
  to.credit = from.getCredit();
  return read_enum(from.getPriority(), Priority::kBackground, "a priority", to.priority);
}

Result<void> write(const Generate& from, wire::Generate::Builder to) {
  to.setId(from.id);
  FACET_TRY(auto model, checked_text(from.model, kMaxNameBytes, "the model's name"));
  to.setModel(model);
  FACET_CHECK(write_prompt(from.prompt, to.initPrompt()));
  FACET_CHECK(check_deadline(from.deadline_ms));
  to.setDeadline(from.deadline_ms);
  FACET_CHECK(check_count(from.choices, kMaxChoices, "choices"));
  to.setChoices(from.choices);
  to.setParseSpecial(from.parse_special);
  to.setMaxTokens(from.max_tokens);
  FACET_CHECK(check_count(from.stop.size(), kMaxStopStrings, "stop strings"));
  if (!from.stop.empty()) {
    auto stop = to.initStop(from.stop.size());
    for (unsigned i = 0; i < stop.size(); ++i) {
      FACET_TRY(auto text, checked_text(from.stop[i], kMaxStopBytes, "a stop string"));
      stop.set(i, text);
    }
  }
  to.setIgnoreEnd(from.ignore_end);
  to.setPriority(wire_enum<wire::Priority>(from.priority));
  to.setCredit(from.credit);
  return write(from.sampling, to.initSampling());
}

Result<void> read(wire::Cancel::Reader from, Cancel& to) {
  to.id = from.getId();
  return {};
}

Result<void> write(const Cancel& from, wire::Cancel::Builder to) {
  to.setId(from.id);
  return {};
}

Result<void> read(wire::Credit::Reader from, Credit& to) {
  to.id = from.getId();
  to.tokens = from.getTokens();
  return {};
}

Result<void> write(const Credit& from, wire::Credit::Builder to) {
  to.setId(from.id);
  to.setTokens(from.tokens);
  return {};
}

Result<void> read(wire::GetStatus::Reader from, GetStatus& to) {
  to.id = from.getId();
  return {};
}

Result<void> write(const GetStatus& from, wire::GetStatus::Builder to) {
  to.setId(from.id);
  return {};
}

// ---- from the daemon

Result<void> read(wire::ServerHello::Reader from, ServerHello& to) {
  to.version = from.getVersion();
  FACET_CHECK(read_text(from.getServer(), kMaxNameBytes, "the server's name", to.server));
  auto features = from.getFeatures();
  FACET_CHECK(check_count(features.size(), kMaxFeatures, "features"));
  to.features.resize(features.size());
  for (unsigned i = 0; i < features.size(); ++i) {
    FACET_CHECK(read_text(features[i], kMaxNameBytes, "a feature", to.features[i]));
  }
  auto limits = from.getLimits();
  to.limits.message_bytes = limits.getMessageBytes();
  to.limits.open_requests = limits.getOpenRequests();
  to.limits.prompt_tokens = limits.getPromptTokens();
  to.limits.stop_strings = limits.getStopStrings();
  to.limits.logit_biases = limits.getLogitBiases();
  to.limits.logprobs = limits.getLogprobs();
  to.limits.chat_messages = limits.getChatMessages();
  to.limits.content_parts = limits.getContentParts();
  to.limits.tool_calls = limits.getToolCalls();
  to.limits.arguments_bytes = limits.getArgumentsBytes();
  to.limits.tools = limits.getTools();
  to.limits.tools_bytes = limits.getToolsBytes();
  to.limits.json_nesting = limits.getJsonNesting();
  to.limits.chat_parts = limits.getChatParts();
  to.limits.choices = limits.getChoices();
  return {};
}

Result<void> write(const ServerHello& from, wire::ServerHello::Builder to) {
  FACET_TRY(auto server, checked_text(from.server, kMaxNameBytes, "the server's name"));
  FACET_CHECK(check_count(from.features.size(), kMaxFeatures, "features"));
  to.setVersion(from.version);
  to.setServer(server);
  auto features = to.initFeatures(from.features.size());
  for (unsigned i = 0; i < features.size(); ++i) {
    FACET_TRY(auto feature, checked_text(from.features[i], kMaxNameBytes, "a feature"));
    features.set(i, feature);
  }
  auto limits = to.initLimits();
  limits.setMessageBytes(from.limits.message_bytes);
  limits.setOpenRequests(from.limits.open_requests);
  limits.setPromptTokens(from.limits.prompt_tokens);
  limits.setStopStrings(from.limits.stop_strings);
  limits.setLogitBiases(from.limits.logit_biases);
  limits.setLogprobs(from.limits.logprobs);
  limits.setChatMessages(from.limits.chat_messages);
  limits.setContentParts(from.limits.content_parts);
  limits.setToolCalls(from.limits.tool_calls);
  limits.setArgumentsBytes(from.limits.arguments_bytes);
  limits.setTools(from.limits.tools);
  limits.setToolsBytes(from.limits.tools_bytes);
  limits.setJsonNesting(from.limits.json_nesting);
  limits.setChatParts(from.limits.chat_parts);
  limits.setChoices(from.limits.choices);
  return {};
}

Result<void> read(wire::Model::Reader from, Model& to) {
  FACET_CHECK(read_text(from.getName(), kMaxNameBytes, "a model's name", to.name));
  FACET_CHECK(read_enum(from.getState(), ModelState::kFailed, "a model's state", to.state));
  to.file_bytes = from.getFileBytes();
  FACET_CHECK(read_text(from.getFamily(), kMaxNameBytes, "a model's family", to.family));
  to.context = from.getContext();
  to.vocabulary = from.getVocabulary();
  FACET_CHECK(read_text(from.getBackend(), kMaxNameBytes, "a model's backend", to.backend));
  FACET_CHECK(read_text(from.getNumerics(), kMaxProseBytes, "a model's numerics", to.numerics));
  return read_text(from.getError(), kMaxProseBytes, "a model's error", to.error);
}

Result<void> write(const Model& from, wire::Model::Builder to) {
  FACET_TRY(auto name, checked_text(from.name, kMaxNameBytes, "a model's name"));
  FACET_TRY(auto family, checked_text(from.family, kMaxNameBytes, "a model's family"));
  FACET_TRY(auto backend, checked_text(from.backend, kMaxNameBytes, "a model's backend"));
  FACET_TRY(auto numerics, checked_text(from.numerics, kMaxProseBytes, "a model's numerics"));
  to.setName(name);
  to.setState(wire_enum<wire::ModelState>(from.state));
  to.setFileBytes(from.file_bytes);
  to.setFamily(family);
  to.setContext(from.context);
  to.setVocabulary(from.vocabulary);
  to.setBackend(backend);
  to.setNumerics(numerics);
  if (!from.error.empty()) to.setError(text_reader(to_utf8(from.error, kMaxProseBytes)));
  return {};
}

Result<void> read(wire::Models::Reader from, Models& to) {
  to.id = from.getId();
  auto models = from.getModels();
  FACET_CHECK(check_count(models.size(), kMaxModels, "models"));
  to.models.resize(models.size());
  for (unsigned i = 0; i < models.size(); ++i) FACET_CHECK(read(models[i], to.models[i]));
  return {};
}

Result<void> write(const Models& from, wire::Models::Builder to) {
  FACET_CHECK(check_count(from.models.size(), kMaxModels, "models"));
  to.setId(from.id);
  auto models = to.initModels(from.models.size());
  for (unsigned i = 0; i < models.size(); ++i) FACET_CHECK(write(from.models[i], models[i]));
  return {};
}

Result<void> read(wire::Token::Reader from, Token& to) {
  to.id = from.getId();
  to.sequence = from.getSequence();
  to.token = from.getToken();
  FACET_CHECK(read_text(from.getText(), kMaxTokenTextBytes, "a token's text", to.text));
  to.logprob = from.getLogprob();
  auto alternatives = from.getAlternatives();
  FACET_CHECK(check_count(alternatives.size(), kMaxLogprobs, "alternatives of a token"));
  to.alternatives.resize(alternatives.size());
  for (unsigned i = 0; i < alternatives.size(); ++i) {
    to.alternatives[i] = {alternatives[i].getToken(), alternatives[i].getLogprob()};
  }
  return read(from.getParts(), to.parts);
}

Result<void> write(const Token& from, wire::Token::Builder to) {
  FACET_TRY(auto text, checked_text(from.text, kMaxTokenTextBytes, "a token's text"));
  FACET_CHECK(check_count(from.alternatives.size(), kMaxLogprobs, "alternatives of a token"));
  to.setId(from.id);
  to.setSequence(from.sequence);
  to.setToken(from.token);
  to.setText(text);
  to.setLogprob(from.logprob);
  FACET_CHECK(check_count(from.parts.size(), kMaxParts, "parts of an answer"));
  if (!from.parts.empty()) FACET_CHECK(write(from.parts, to.initParts(from.parts.size())));
  if (from.alternatives.empty()) return {};
  auto alternatives = to.initAlternatives(from.alternatives.size());
  for (unsigned i = 0; i < alternatives.size(); ++i) {
    alternatives[i].setToken(from.alternatives[i].token);
    alternatives[i].setLogprob(from.alternatives[i].logprob);
  }
  return {};
}

Result<void> read(wire::Finish::Reader from, Finish& to) {
  to.id = from.getId();
  FACET_CHECK(read_enum(from.getReason(), FinishReason::kDeadline, "a finish reason", to.reason));
  FACET_CHECK(read_text(from.getText(), kMaxTokenTextBytes, "a finish's text", to.text));
  auto usage = from.getUsage();
  to.usage = {usage.getPromptTokens(), usage.getGeneratedTokens(), usage.getCachedTokens()};
  auto timings = from.getTimings();
  to.timings = {timings.getQueued(), timings.getPrompt(), timings.getGenerate()};
  return read(from.getParts(), to.parts);
}

Result<void> write(const Finish& from, wire::Finish::Builder to) {
  FACET_TRY(auto text, checked_text(from.text, kMaxTokenTextBytes, "a finish's text"));
  to.setId(from.id);
  to.setReason(wire_enum<wire::FinishReason>(from.reason));
  to.setText(text);
  auto usage = to.initUsage();
  usage.setPromptTokens(from.usage.prompt_tokens);
  usage.setCachedTokens(from.usage.cached_tokens);
  usage.setGeneratedTokens(from.usage.generated_tokens);
  auto timings = to.initTimings();
  timings.setQueued(from.timings.queued);
  timings.setPrompt(from.timings.prompt);
  timings.setGenerate(from.timings.generate);
  FACET_CHECK(check_count(from.parts.size(), kMaxParts, "parts of an answer"));
  return from.parts.empty() ? Result<void>() : write(from.parts, to.initParts(from.parts.size()));
}

Result<void> read(wire::Status::Reader from, Status& to) {
  to.id = from.getId();
  FACET_CHECK(read_text(from.getServer(), kMaxNameBytes, "the server's name", to.server));
  to.uptime = from.getUptime();
  FACET_CHECK(read_text(from.getEngine(), kMaxNameBytes, "the engine's state", to.engine));
  to.engine_starts = from.getEngineStarts();
  to.connections = from.getConnections();
  to.running = from.getRunning();
  to.waiting = from.getWaiting();
  auto requests = from.getRequests();
  FACET_CHECK(check_count(requests.size(), kMaxRequestStatuses, "requests in a status"));
  to.requests.resize(requests.size());
  for (unsigned i = 0; i < requests.size(); ++i) FACET_CHECK(read(requests[i], to.requests[i]));
  to.cache_pages = from.getCachePages();
  to.cache_pages_free = from.getCachePagesFree();
  to.parked = from.getParked();
  to.evicted = from.getEvicted();
  to.cached_tokens = from.getCachedTokens();
  to.computed_tokens = from.getComputedTokens();
  to.registered_prompts = from.getRegisteredPrompts();
  to.registered_tokens = from.getRegisteredTokens();
  return read_text(from.getBackend(), kMaxNameBytes, "the backend's name", to.backend);
}

Result<void> write(const Status& from, wire::Status::Builder to) {
  FACET_TRY(auto server, checked_text(from.server, kMaxNameBytes, "the server's name"));
  FACET_TRY(auto engine, checked_text(from.engine, kMaxNameBytes, "the engine's state"));
  FACET_TRY(auto backend, checked_text(from.backend, kMaxNameBytes, "the backend's name"));
  FACET_CHECK(check_count(from.requests.size(), kMaxRequestStatuses, "requests in a status"));
  to.setId(from.id);
  to.setServer(server);
  to.setUptime(from.uptime);
  to.setEngine(engine);
  to.setEngineStarts(from.engine_starts);
  to.setConnections(from.connections);
  to.setRunning(from.running);
  to.setWaiting(from.waiting);
  auto requests = to.initRequests(from.requests.size());
  for (unsigned i = 0; i < requests.size(); ++i) FACET_CHECK(write(from.requests[i], requests[i]));
  to.setCachePages(from.cache_pages);
  to.setCachePagesFree(from.cache_pages_free);
  to.setBackend(backend);
  to.setParked(from.parked);
  to.setEvicted(from.evicted);
  to.setCachedTokens(from.cached_tokens);
  to.setComputedTokens(from.computed_tokens);
  to.setRegisteredPrompts(from.registered_prompts);
  to.setRegisteredTokens(from.registered_tokens);
  return {};
}

Result<void> read(wire::Failed::Reader from, Failed& to) {
  to.id = from.getId();
  to.retry_after_ms = std::min<uint32_t>(from.getRetryAfter(), kMaxRetryAfterMs);
  FACET_CHECK(read_text(from.getMessage(), kMaxProseBytes, "a failure's message", to.message));
  uint16_t code = from.getCode();
  if (code == FACET_OK) return Error{FACET_MALFORMED, "a failure with the code of success"};
  if (code > FACET_DEADLINE) {
    // A later version's: the message tells more than this number would.
    to.code = FACET_INTERNAL;
    to.message += " (status " + std::to_string(code) + ")";
  } else {
    to.code = static_cast<facet_status>(code);
  }
  return {};
}

Result<void> write(const Failed& from, wire::Failed::Builder to) {
  to.setId(from.id);
  to.setCode(static_cast<uint16_t>(from.code));
  to.setRetryAfter(std::min<uint32_t>(from.retry_after_ms, kMaxRetryAfterMs));
  to.setMessage(text_reader(to_utf8(from.message, kMaxProseBytes)));
  return {};
}

}  // namespace facet::protocol
