// The apps of a benchmark: one process that asks facetd for answers and stays, so that neither the start of a
// program nor the script that runs the benchmark is part of what is measured.
//
//   bench_clients < LINES        ($FACET_SOCKET: the daemon)
//
// A line of stdin is a JSON object:
//
//   {"id": 7, "app": "person", "priority": "interactive", "prompt": [2, 1000], "tokens": 32, "cancel_after":
//   5}
//   {"cancel": 7}
//
// Ids grow. Each app has a connection of its own. `prompt` are token ids, `tokens` come whatever they are,
// the likeliest each time; cancel_after, which may be left out, cancels at that token. When an answer ends,
// one line says so on stdout, with seconds of the monotonic clock; `cancel` is that of the cancel, or null:
//
//   {"id": 7, "start": 1.5, "tokens": [17, 4], "times": [1.75, 2.0], "cancel": null, "finish": 2.0,
//    "reason": "length", "cached": 0}
//   {"id": 7, "error": "..."}
//
// The end of stdin cancels what is left. A line that is none of this ends the program with exit code 1.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <facet/client.hpp>
#include <initializer_list>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace facet::client;
using nlohmann::json;

namespace {

constexpr size_t kMaxLine = 16 << 20;  // bytes
constexpr uint32_t kMaxTokens = 1 << 20;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// stdio writes what one call is given in one piece, whatever threads call.
void say(const json& line) {
  std::fputs((line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n").c_str(), stdout);
  std::fflush(stdout);
}

uint64_t number(const json& value, const std::string& name, uint64_t most) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > most) {
    throw std::runtime_error(name + " is no number up to " + std::to_string(most));
  }
  return value.get<uint64_t>();
}

Priority priority_of(const std::string& name) {
  for (const Priority priority : {Priority::interactive, Priority::standard, Priority::background}) {
    if (name == name_of(priority)) return priority;
  }
  throw std::runtime_error("there is no priority " + name);
}

GenerateRequest request_of(const json& line) {
  GenerateRequest request;
  const json& prompt = line.at("prompt");
  if (!prompt.is_array() || prompt.size() > kMaxTokens) {
    throw std::runtime_error("prompt is no list of at most " + std::to_string(kMaxTokens) + " ids");
  }
  TokenIds ids;
  for (const json& id : prompt)
    ids.push_back(static_cast<uint32_t>(number(id, "an id of prompt", UINT32_MAX)));
  request.prompt = std::move(ids);
  request.max_tokens = static_cast<uint32_t>(number(line.at("tokens"), "tokens", kMaxTokens));
  request.ignore_end = true;
  request.sampling.temperature = 0;
  request.priority = priority_of(line.at("priority").get<std::string>());
  return request;
}

// A request that runs on a thread of its own, until the end of this object.
class Running {
 public:
  Running(uint64_t id, Client& client, GenerateRequest request, uint64_t cancel_after)
      : thread_([=, this, &client, request = std::move(request)](std::stop_token stop) {
          say(answer(id, client, request, cancel_after, std::move(stop)));
          done_ = true;
        }) {}

  void cancel() {
    cancel_ = seconds();
    thread_.request_stop();
  }
  bool done() const { return done_; }

 private:
  json answer(uint64_t id, Client& client, const GenerateRequest& request, uint64_t cancel_after,
              std::stop_token stop) {
    std::vector<uint32_t> tokens;
    std::vector<double> times;
    tokens.reserve(request.max_tokens);
    times.reserve(request.max_tokens);
    const auto on_token = [&](const Token& token) {
      if (token.id == Token::kNoId) return true;
      times.push_back(seconds());
      tokens.push_back(token.id);
      if (tokens.size() != cancel_after) return true;
      cancel_ = times.back();
      return false;
    };
    const double start = seconds();
    const auto answer = client.generate(request, on_token, std::move(stop));
    const double finish = seconds();
    if (!answer) return {{"id", id}, {"error", answer.error().message}};
    return {{"id", id},
            {"start", start},
            {"tokens", tokens},
            {"times", times},
            {"cancel", cancel_ > 0 ? json(cancel_.load()) : json()},
            {"finish", finish},
            {"reason", name_of(answer->reason)},
            {"cached", answer->usage.cached_tokens}};
  }

  std::atomic<double> cancel_ = 0;
  std::atomic<bool> done_ = false;
  std::jthread thread_;  // the last member: it uses the others
};

class Clients {
 public:
  void read(const json& line) {
    std::erase_if(running_, [](const auto& entry) { return entry.second.done(); });
    if (line.contains("cancel")) {
      const uint64_t id = number(line.at("cancel"), "cancel", last_);
      if (const auto found = running_.find(id); found != running_.end()) found->second.cancel();
      return;
    }
    const uint64_t id = number(line.at("id"), "id", UINT64_MAX);
    if (id <= last_) throw std::runtime_error("id is not above " + std::to_string(last_));
    last_ = id;
    GenerateRequest request = request_of(line);
    const uint64_t cancel_after = number(line.value("cancel_after", json(0U)), "cancel_after", kMaxTokens);
    const std::string app = line.at("app").get<std::string>();
    auto client = clients_.find(app);
    if (client == clients_.end()) {
      auto connected = Client::connect({.app = app});
      if (!connected) return say({{"id", id}, {"error", connected.error().message}});
      client = clients_.emplace(app, std::move(*connected)).first;
    }
    running_.try_emplace(id, id, client->second, std::move(request), cancel_after);
  }

 private:
  uint64_t last_ = 0;
  std::map<std::string, Client> clients_;
  std::map<uint64_t, Running> running_;
};

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {
    std::fputs("bench_clients reads lines from stdin and takes no arguments\n", stderr);
    return 2;
  }
  size_t count = 0;
  try {
    Clients clients;
    for (std::vector<char> line(kMaxLine); std::cin.getline(line.data(), kMaxLine);) {
      ++count;
      clients.read(json::parse(line.data()));
    }
    if (std::cin.eof()) return 0;
    throw std::runtime_error("longer than " + std::to_string(kMaxLine) + " bytes");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_clients: line %zu: %s\n", count, error.what());
    return 1;
  }
}
