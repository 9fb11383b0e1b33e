#include "sdk/cli/show.h"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "sdk/cli/output.h"

namespace facet::cli {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const client::Model& model) {
  return {{"name", model.name},
          {"state", client::name_of(model.state)},
          {"file_bytes", model.file_bytes},
          {"family", model.family},
          {"context", model.context},
          {"vocabulary", model.vocabulary},
          {"backend", model.backend},
          {"numerics", model.numerics},
          {"error", model.error}};
}

Json json_of(const client::RequestStatus& request) {
  return {{"app", request.app},
          {"sandbox", request.sandbox},
          {"model", request.model},
          {"priority", client::name_of(request.priority)},
          {"running", request.running},
          {"prompt_tokens", request.prompt_tokens},
          {"generated_tokens", request.generated_tokens},
          {"position", request.position},
          {"estimated_wait_ms", request.estimated_wait.count()}};
}

Json json_of(const client::Status& status) {
  Json requests = Json::array();
  for (const auto& request : status.requests) requests.push_back(json_of(request));
  return {{"server", status.server},
          {"uptime_s", status.uptime.count()},
          {"engine", status.engine},
          {"engine_starts", status.engine_starts},
          {"backend", status.backend},
          {"connections", status.connections},
          {"running", status.running},
          {"waiting", status.waiting},
          {"cache_pages", status.cache_pages},
          {"cache_pages_free", status.cache_pages_free},
          {"parked", status.parked},
          {"evicted", status.evicted},
          {"cached_tokens", status.cached_tokens},
          {"computed_tokens", status.computed_tokens},
          {"registered_prompts", status.registered_prompts},
          {"registered_tokens", status.registered_tokens},
          {"requests", requests}};
}

std::string padded(const std::string& text, size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

std::string line_of(const client::Model& model) {
  std::string line = padded(model.name, 32) + " " + padded(client::name_of(model.state), 9) +
                     std::to_string(model.file_bytes >> 20) + " MiB";
  if (!model.family.empty()) {
    line += "  " + model.family + ", context " + std::to_string(model.context) + ", on " + model.backend;
  }
  if (!model.error.empty()) line += "  " + model.error;
  return line + "\n";
}

std::string text_of(const client::Status& status) {
  auto number = [](uint64_t value) { return std::to_string(value); };
  std::string text = "server       " + status.server + ", up " + number(status.uptime.count()) + " s\n" +
                     "engine       " + status.engine + ", started " + number(status.engine_starts) +
                     " times, backend " + (status.backend.empty() ? "not known yet" : status.backend) + "\n" +
                     "connections  " + number(status.connections) + "\n" + "requests     " +
                     number(status.running) + " running, " + number(status.waiting) + " waiting\n" +
                     "cache pages  " + number(status.cache_pages_free) + " of " + number(status.cache_pages) +
                     " free\n" + "so far       " + number(status.parked) + " steps parked, " +
                     number(status.evicted) + " requests evicted, " + number(status.cached_tokens) +
                     " prompt tokens cached, " + number(status.computed_tokens) + " tokens computed\n";
  if (status.registered_prompts > 0) {
    text += "prompts      " + number(status.registered_prompts) + " registered, " +
            number(status.registered_tokens) + " tokens kept for all users\n";
  }
  for (const auto& request : status.requests) {
    text += std::string("  ") + (request.running ? "running " : "waiting ") + padded(request.app, 20) + " " +
            padded(request.model, 24) + " " + client::name_of(request.priority) + ", " +
            number(request.prompt_tokens) + " + " + number(request.generated_tokens) + " tokens";
    if (!request.sandbox.empty()) text += ", in " + request.sandbox;
    if (request.position > 0) text += ", number " + number(request.position) + " of its class";
    if (request.estimated_wait.count() > 0) text += ", " + in_seconds(request.estimated_wait) + " to wait";
    text += "\n";
  }
  return text;
}

}  // namespace

int show_models(client::Client& client, bool json) {
  auto models = client.models();
  if (!models) return fail(models.error());
  std::string text;
  Json list = Json::array();
  for (const auto& model : *models) {
    text += line_of(model);
    list.push_back(json_of(model));
  }
  print(json ? list.dump() + "\n" : text);
  return kDone;
}

int show_status(client::Client& client, bool json) {
  auto status = client.status();
  if (!status) return fail(status.error());
  print(json ? json_of(*status).dump() + "\n" : text_of(*status));
  return kDone;
}

}  // namespace facet::cli
