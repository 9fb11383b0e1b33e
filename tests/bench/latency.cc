// The time from the engine's token to the app's callback, through the real facetd and the real SDK.
//
//   latency [--tokens N] [--pace MICROSECONDS] [--load MODEL] [--threads N]
//
// This program plays the engine, with the engine's own end of the link, and the app. A token's text is the
// time at which the engine handed it over; the callback compares it with its own. Tokens come at the pace of
// a model, so every thread on the way sleeps in between. First the machine is left alone; with --load, again
// while `facet-model bench` keeps all cores (or --threads) busy with that model. The rows named `bare` are
// what the machine itself takes: eight bytes through two socket pairs with a thread between them that passes
// them on, which is the least that a broker costs. The numbers are microseconds.
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <facet/client.hpp>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "daemon/base/mailbox.h"
#include "daemon/engine/link_session.h"

using namespace facet;
using Clock = std::chrono::steady_clock;

namespace {

int64_t nanoseconds() {
  return Clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

UniqueFd listen_at(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(socket.get(), 1) != 0) {
    throw std::runtime_error(path + ": " + std::strerror(errno));
  }
  return socket;
}

// A program that lies beside this one, until the end of this object; it says nothing but errors.
class Program {
 public:
  explicit Program(std::vector<std::string> words) {
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    words[0] = (self.parent_path() / words[0]).string();
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ != 0) return;
    if (!std::freopen("/dev/null", "w", stdout)) ::_exit(127);
    ::execv(pointers[0], pointers.data());
    ::_exit(127);
  }
  ~Program() {
    ::kill(pid_, SIGTERM);
    ::waitpid(pid_, nullptr, 0);
  }
  Program(const Program&) = delete;
  bool runs() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }

 private:
  pid_t pid_ = 0;
};

// Answers each request with tokens that say when they were sent.
class TimedEngine {
 public:
  TimedEngine(UniqueFd socket, std::chrono::microseconds pace)
      : session_(engine::LinkSession::create(std::move(socket)).value()), pace_(pace) {
    link_ = std::thread([this] {
      auto hello = session_->receive_hello();
      if (hello) session_->send(link::EngineHello{link::kVersion, "latency", "none", "none"});
      if (hello) (void)session_->run([this](link::ToEngine message) { mailbox_.post(std::move(message)); });
      mailbox_.post(link::BrokerHello());  // the end
    });
    engine_ = std::thread([this] { run(); });
  }
  ~TimedEngine() {
    session_->stop();
    link_.join();
    engine_.join();
  }

 private:
  void run() {
    for (;;) {
      for (auto& message : mailbox_.wait()) {
        if (std::holds_alternative<link::BrokerHello>(message)) return;
        if (auto* start = std::get_if<link::Start>(&message)) answer(start->request);
      }
    }
  }

  void answer(const protocol::Generate& request) {
    uint64_t granted = request.credit;
    auto next = Clock::now();
    for (uint32_t i = 0; i < request.max_tokens; ++i) {
      next += pace_;
      std::this_thread::sleep_until(next);
      while (granted <= i) {
        for (auto& message : mailbox_.wait()) {
          if (auto* credit = std::get_if<link::Credit>(&message)) granted += credit->tokens;
          if (std::holds_alternative<link::BrokerHello>(message)) return;
        }
      }
      protocol::Token token;
      token.id = request.id;
      token.sequence = i;
      token.text = std::to_string(nanoseconds());
      session_->send(token);
    }
    protocol::Finish finish;
    finish.id = request.id;
    finish.usage.generated_tokens = request.max_tokens;
    session_->send(finish);
  }

  std::unique_ptr<engine::LinkSession> session_;
  const std::chrono::microseconds pace_;
  Mailbox<link::ToEngine> mailbox_;
  std::thread link_, engine_;
};

client::Client connect(const std::string& socket) {
  for (int tries = 0;; ++tries) {
    auto client = client::Client::connect({.socket = socket, .app = "latency"});
    if (client) return std::move(*client);
    if (tries == 100) throw std::runtime_error(client.error().message);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

void print(const std::string& name, std::vector<int64_t> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double part) {
    return static_cast<double>(times[static_cast<size_t>(part * static_cast<double>(times.size() - 1))]) /
           1000;
  };
  std::printf("%-12s %8.1f %8.1f %8.1f %8.1f\n", name.c_str(), at(0.5), at(0.9), at(0.99), at(1));
  std::fflush(stdout);
}

std::pair<UniqueFd, UniqueFd> socket_pair() {
  int ends[2] = {};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::runtime_error(std::string("socketpair: ") + std::strerror(errno));
  }
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::vector<int64_t> bare_hops(uint32_t tokens, std::chrono::microseconds pace) {
  auto [start, between_in] = socket_pair();
  auto [between_out, end] = socket_pair();
  std::thread between([from = between_in.get(), to = between_out.get()] {
    for (int64_t sent = 0; ::read(from, &sent, sizeof sent) == sizeof sent;) {
      if (::write(to, &sent, sizeof sent) != sizeof sent) return;
    }
  });
  std::vector<int64_t> times;
  std::thread reader([&times, tokens, from = end.get()] {
    for (int64_t sent = 0; times.size() < tokens && ::read(from, &sent, sizeof sent) == sizeof sent;) {
      times.push_back(nanoseconds() - sent);
    }
  });
  auto next = Clock::now();
  for (uint32_t i = 0; i < tokens; ++i) {
    std::this_thread::sleep_until(next += pace);
    const int64_t now = nanoseconds();
    if (::write(start.get(), &now, sizeof now) != sizeof now) break;
  }
  start.reset();
  between.join();
  between_out.reset();
  reader.join();
  return times;
}

std::vector<int64_t> through_facet(client::Client& client, uint32_t tokens) {
  std::vector<int64_t> times;
  times.reserve(tokens);
  client::GenerateRequest request;
  request.prompt = "go";
  request.max_tokens = tokens;
  auto answer = client.generate(request, [&](const client::Token& token) {
    times.push_back(nanoseconds() - std::strtoll(token.text.c_str(), nullptr, 10));
  });
  if (!answer) throw std::runtime_error(answer.error().message);
  if (times.size() != tokens) throw std::runtime_error("tokens are missing");
  return times;
}

struct Options {
  uint32_t tokens = 2000;
  uint32_t pace = 5000;
  std::string load;
  uint32_t threads = 0;
};

void run(const Options& options, const std::string& folder) {
  const std::string link = folder + "/engine", socket = folder + "/s";
  const UniqueFd listening = listen_at(link);
  const Program facetd({"facetd", "--config", "/dev/null", "--socket", socket, "--models", folder, "--model",
                        "/none.gguf", "--engine-socket", link, "--log-level", "warning"});
  UniqueFd broker(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!broker) throw std::runtime_error("facetd does not connect");
  TimedEngine engine(std::move(broker), std::chrono::microseconds(options.pace));
  client::Client client = connect(socket);
  const auto measure = [&](const std::string& cores) {
    print(cores + " bare", bare_hops(options.tokens, std::chrono::microseconds(options.pace)));
    print(cores, through_facet(client, options.tokens));
  };
  std::printf("%-12s %8s %8s %8s %8s\n", "cores", "median", "p90", "p99", "most");
  measure("idle");
  if (options.load.empty()) return;
  const Program load({"facet-model", "bench", options.load, "-p", "0", "-n", "256", "-r", "1000", "--threads",
                      std::to_string(options.threads)});
  std::this_thread::sleep_for(std::chrono::seconds(2));  // it loads the model
  measure("busy");
  if (!load.runs()) throw std::runtime_error("the load ended before the measurement");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app("the time from the engine's token to the app's callback");
  app.add_option("--tokens", options.tokens, "of each measurement")->check(CLI::Range(1, 1'000'000));
  app.add_option("--pace", options.pace, "microseconds between tokens")->check(CLI::Range(1, 1'000'000));
  app.add_option("--load", options.load, "a model file that keeps the cores busy");
  app.add_option("--threads", options.threads, "of the load; 0: the backend chooses");
  CLI11_PARSE(app, argc, argv);
  char name[] = "/tmp/facet-latency-XXXXXX";
  const std::string folder = mkdtemp(name);
  int status = 0;
  try {
    run(options, folder);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "latency: %s\n", error.what());
    status = 1;
  }
  std::filesystem::remove_all(folder);
  return status;
}
