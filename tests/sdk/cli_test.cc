// The program facet against a daemon of the test.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/sdk/fake_daemon.h"
#include "tests/sdk/program.h"

using namespace std::chrono_literals;
using facet::test::FakeDaemon;
using facet::test::InputFile;
using facet::test::Peer;
using facet::test::Program;
using facet::test::run;
namespace protocol = facet::protocol;

TEST_CASE("cli: complete streams the answer and passes on what the flags say") {
  protocol::Generate asked;
  Program::End end;
  {
    FakeDaemon daemon([&](Peer& peer) {
      peer.greet();
      auto request = peer.next_of<protocol::Generate>();
      if (!request) return;
      asked = *request;
      peer.send_tokens(asked.id, 0, 2);
      peer.send_finish(asked.id, 2, protocol::FinishReason::kStop, "ende");
    });
    end = run(daemon.path(), {"complete",
                              "Once",
                              "--model",
                              "m",
                              "-n",
                              "9",
                              "--temperature",
                              "0.5",
                              "--top-k",
                              "3",
                              "--top-p",
                              "0.25",
                              "--min-p",
                              "0.125",
                              "--seed",
                              "42",
                              "--stop",
                              "a",
                              "--stop",
                              "b\nc",
                              "--repeat-penalty",
                              "1.5",
                              "--priority",
                              "interactive",
                              "--special",
                              "--stats",
                              "--presence-penalty",
                              "-0.5",
                              "--frequency-penalty",
                              "0.75",
                              "--repeat-last-n",
                              "7",
                              "--logit-bias",
                              "5=-1.5",
                              "--logit-bias",
                              "262143=-inf"});
  }
  CHECK(end.code == 0);
  CHECK(end.output == "0 1 ende\n");
  CHECK(end.error ==
        "2 tokens at 3.3 tokens/s; prompt of 3 tokens at 150.0 tokens/s; first token after 20 ms\n");
  CHECK(std::get<std::string>(asked.prompt) == "Once");
  CHECK(asked.model == "m");
  CHECK(asked.max_tokens == 9);
  CHECK(asked.sampling.temperature == 0.5f);
  CHECK(asked.sampling.top_k == 3);
  CHECK(asked.sampling.top_p == 0.25f);
  CHECK(asked.sampling.min_p == 0.125f);
  CHECK(asked.sampling.repeat_penalty == 1.5f);
  CHECK(asked.sampling.presence_penalty == -0.5f);
  CHECK(asked.sampling.frequency_penalty == 0.75f);
  CHECK(asked.sampling.repeat_last_n == 7);
  CHECK(asked.sampling.logit_bias ==
        std::vector<std::pair<uint32_t, float>>{{5, -1.5f}, {262143, -INFINITY}});
  CHECK(asked.sampling.seed == 42);
  CHECK(asked.stop == std::vector<std::string>{"a", "b\nc"});
  CHECK(asked.priority == protocol::Priority::kInteractive);
  CHECK(asked.parse_special);
}

TEST_CASE("cli: - is the prompt from standard input, whole and bounded") {
  // What `facet complete -` asks for with the file as its input, if it asks, and how it ends.
  auto complete = [](const char* input) {
    std::optional<protocol::Generate> asked;
    Program::End end;
    {
      FakeDaemon daemon([&](Peer& peer) {
        peer.greet();
        asked = peer.next_of<protocol::Generate>();
        if (asked) peer.send_finish(asked->id, 0);
      });
      end = run(daemon.path(), {"complete", "-"}, input);
    }
    return std::pair(asked, end);
  };
  const std::string text = std::string(200'000, 'a') + "\n\xC3\xB6\n";
  auto [whole, end] = complete(InputFile(text).path());
  CHECK(end.code == 0);
  REQUIRE(whole);
  CHECK(std::get<std::string>(whole->prompt) == text);
  auto empty = complete("/dev/null").first;
  REQUIRE(empty);
  CHECK(std::get<std::string>(empty->prompt).empty());

  struct Refusal {
    std::string bytes;
    int code;
    const char* error;
  };
  constexpr size_t kMost = 4 << 20;
  const std::vector<Refusal> refusals = {
      {std::string(kMost + 1, 'a'), 2, "standard input: longer than the 4194304 bytes"},
      // Within the bound, but what else a request holds does not fit into the message beside it.
      {std::string(kMost, 'a'), 1, "facet: too_large: "},
      {"\xFF", 1, "not valid UTF-8"},
  };
  for (const auto& refusal : refusals) {
    auto [asked, end] = complete(InputFile(refusal.bytes).path());
    CHECK(!asked);
    CHECK(end.code == refusal.code);
    CHECK(end.error.find(refusal.error) != std::string::npos);
  }
  CHECK(complete("/dev/zero").second.code == 2);
  CHECK(complete("/").second.error.find("standard input: Is a directory") != std::string::npos);
}

TEST_CASE("cli: --json gives a line per token and one for the finish; --ids and --logprobs") {
  protocol::Generate asked;
  Program::End end;
  {
    FakeDaemon daemon([&](Peer& peer) {
      peer.greet();
      auto request = peer.next_of<protocol::Generate>();
      if (!request) return;
      asked = *request;
      peer.send(protocol::Token{.id = asked.id,
                                .sequence = 0,
                                .token = 5,
                                .text = "\"ö\n",
                                .logprob = -0.5f,
                                .alternatives = {{5, -0.5f}}});
      peer.send_finish(asked.id, 1, protocol::FinishReason::kLength, "r");
    });
    end = run(daemon.path(), {"complete", "--ids", "2,3,4", "--json", "--logprobs", "1"});
  }
  CHECK(end.code == 0);
  CHECK(end.output ==
        "{\"type\":\"token\",\"sequence\":0,\"id\":5,\"text\":\"\\\"ö\\n\",\"logprob\":-0.5,"
        "\"alternatives\":[{\"id\":5,\"logprob\":-0.5}]}\n"
        "{\"type\":\"finish\",\"reason\":\"length\",\"text\":\"r\",\"usage\":{\"prompt_tokens\":3,"
        "\"generated_tokens\":1,\"cached_tokens\":0},"
        "\"timings_us\":{\"queued\":10,\"prompt\":20000,\"generate\":300000}}\n");
  CHECK(std::get<protocol::TokenIds>(asked.prompt) == protocol::TokenIds{2, 3, 4});
  CHECK(asked.sampling.report_logprobs);
  CHECK(asked.sampling.logprobs == 1);
}

TEST_CASE("cli: Ctrl-C cancels and awaits the finish; a second one ends the program") {
  std::atomic<bool> cancelled = false;
  FakeDaemon daemon([&](Peer& peer) {
    peer.greet();
    auto request = peer.next_of<protocol::Generate>();
    if (!request) return;
    peer.send_tokens(request->id, 0, 1);
    if (!peer.next_of<protocol::Cancel>()) return;
    cancelled = true;
    if (request->max_tokens == 2) {
      peer.next_of<protocol::GetStatus>();  // no finish: until the client is gone
    } else {
      peer.send_finish(request->id, 1, protocol::FinishReason::kCancelled);
    }
  });
  {
    Program program(daemon.path(), {"complete", "x"});
    CHECK(program.read_output(2) == "0 ");
    program.interrupt();
    auto end = program.end();
    CHECK(end.code == 130);
    CHECK(end.output == "\n");
    CHECK(cancelled);
  }
  cancelled = false;
  Program program(daemon.path(), {"complete", "x", "-n", "2"});
  CHECK(program.read_output(2) == "0 ");
  program.interrupt();
  while (!cancelled) std::this_thread::sleep_for(1ms);
  program.interrupt();
  CHECK(program.end().code == 130);
}

TEST_CASE("cli: a reader that closes the pipe cancels the request quietly") {
  std::atomic<bool> closed = false, cancelled = false;
  {
    FakeDaemon daemon([&](Peer& peer) {
      peer.greet();
      auto request = peer.next_of<protocol::Generate>();
      if (!request) return;
      peer.send_tokens(request->id, 0, 1);
      while (!closed) std::this_thread::sleep_for(1ms);
      peer.send_tokens(request->id, 1, 2);
      cancelled = peer.next_of<protocol::Cancel>().has_value();
      peer.send_finish(request->id, 2, protocol::FinishReason::kCancelled);
    });
    Program program(daemon.path(), {"complete", "x"});
    CHECK(program.read_output(2) == "0 ");
    program.close_output();
    closed = true;
    auto end = program.end();
    CHECK(end.code == 0);
    CHECK(end.error.empty());
  }
  CHECK(cancelled);
}

TEST_CASE("cli: exit codes say what went wrong") {
  CHECK(run("/nonexistent/facet.sock", {"status"}).code == 3);
  CHECK(run("/nonexistent/facet.sock", {"status"}).error.find("unavailable") != std::string::npos);
  CHECK(run("/nonexistent/facet.sock", {}).code == 2);
  CHECK(run("/nonexistent/facet.sock", {"complete"}).code == 2);
  CHECK(run("/nonexistent/facet.sock", {"complete", "x", "--ids", "1"}).code == 2);
  CHECK(run("/nonexistent/facet.sock", {"complete", "x", "--top-k", "many"}).code == 2);
  CHECK(run("/nonexistent/facet.sock", {"complete", "x", "--priority", "urgent"}).code == 2);
  for (const char* bias :
       {"", "5", "=1", "5=", "x=1", "5=x", "-1=1", "4294967296=1", "5=1x", "5=nan", "5=inf"}) {
    CAPTURE(bias);
    auto end = run("/nonexistent/facet.sock", {"complete", "x", "--logit-bias", bias});
    CHECK(end.code == 2);
    CHECK(end.error.find("--logit-bias") != std::string::npos);
  }
  auto help = run("", {"complete", "--help"});
  CHECK(help.code == 0);
  CHECK(help.output.find("Exit codes") != std::string::npos);

  FakeDaemon refuses([](Peer& peer) {
    peer.greet();
    if (auto request = peer.next_of<protocol::Generate>()) {
      peer.send(protocol::Failed{request->id, FACET_NOT_FOUND, "no model m"});
    }
  });
  auto end = run(refuses.path(), {"complete", "x"});
  CHECK(end.code == 1);
  CHECK(end.error == "facet: not_found: no model m\n");

  struct Wait {
    uint32_t ms;
    const char* text;
  };
  for (const auto& [ms, text] :
       {Wait{1, "0.1 s"}, Wait{999, "1.0 s"}, Wait{1200, "1.2 s"}, Wait{59'910, "60.0 s"}}) {
    FakeDaemon full([ms = ms](Peer& peer) {
      peer.greet();
      if (auto request = peer.next_of<protocol::Generate>()) {
        peer.send(protocol::Failed{request->id, FACET_EXHAUSTED, "the queue is full", ms});
      }
    });
    end = run(full.path(), {"complete", "x"});
    CHECK(end.code == 1);
    CHECK(end.error == std::string("facet: exhausted: the queue is full; try again in ") + text + "\n");
  }

  FakeDaemon leaves([](Peer& peer) {
    peer.greet();
    if (auto request = peer.next_of<protocol::Generate>()) peer.send_tokens(request->id, 0, 1);
  });
  end = run(leaves.path(), {"complete", "x"});
  CHECK(end.code == 3);
  CHECK(end.output == "0 \n");
}

TEST_CASE("cli: models and status, for people and as JSON") {
  FakeDaemon daemon([](Peer& peer) {
    peer.greet();
    auto message = peer.next();
    if (!message) return;
    if (auto* list = std::get_if<protocol::ListModels>(&*message)) {
      protocol::Model model;
      model.name = "gemma";
      model.file_bytes = 5 << 20;
      peer.send(protocol::Models{list->id, {model}});
    } else if (auto* ask = std::get_if<protocol::GetStatus>(&*message)) {
      protocol::Status status;
      status.id = ask->id;
      status.server = "facetd 0.1.0";
      status.engine = "running";
      status.parked = 11;
      status.evicted = 12;
      status.cached_tokens = 13;
      status.computed_tokens = 14;
      status.registered_prompts = 2;
      status.registered_tokens = 1500;
      status.requests = {{"a", "m", protocol::Priority::kStandard, true, 8, 9},
                         {"b", "m", protocol::Priority::kStandard, false, 0, 0, 3, 1200, "snap:s"}};
      peer.send(status);
    }
  });
  auto end = run(daemon.path(), {"models"});
  CHECK(end.code == 0);
  CHECK(end.output.find("gemma") == 0);
  CHECK(end.output.find("unloaded") != std::string::npos);
  CHECK(end.output.find("5 MiB") != std::string::npos);
  end = run(daemon.path(), {"models", "--json"});
  CHECK(end.output.find("[{\"name\":\"gemma\",\"state\":\"unloaded\",\"file_bytes\":5242880") == 0);
  end = run(daemon.path(), {"status"});
  CHECK(end.output.find("facetd 0.1.0") != std::string::npos);
  CHECK(end.output.find("standard, 8 + 9 tokens\n") != std::string::npos);
  CHECK(end.output.find("standard, 0 + 0 tokens, in snap:s, number 3 of its class, 1.2 s to wait\n") !=
        std::string::npos);
  CHECK(
      end.output.find("11 steps parked, 12 requests evicted, 13 prompt tokens cached, 14 tokens computed") !=
      std::string::npos);
  CHECK(end.output.find("\nprompts      2 registered, 1500 tokens kept for all users\n") !=
        std::string::npos);
  end = run(daemon.path(), {"status", "--json"});
  CHECK(end.output.find("{\"server\":\"facetd 0.1.0\"") == 0);
  CHECK(end.output.find("{\"app\":\"b\",\"sandbox\":\"snap:s\",") != std::string::npos);
  CHECK(end.output.find("\"position\":3,\"estimated_wait_ms\":1200}") != std::string::npos);
  CHECK(end.output.find("\"parked\":11,\"evicted\":12,\"cached_tokens\":13,\"computed_tokens\":14,"
                        "\"registered_prompts\":2,\"registered_tokens\":1500") != std::string::npos);
}

TEST_CASE("cli: --deadline is passed on; an answer that it cuts short is shown, and is a failure") {
  uint32_t asked = 0;
  Program::End end;
  {
    FakeDaemon daemon([&](Peer& peer) {
      peer.greet({protocol::kFeatureDeadline});
      auto request = peer.next_of<protocol::Generate>();
      if (!request) return;
      asked = request->deadline_ms;
      peer.send_tokens(request->id, 0, 1);
      peer.send_finish(request->id, 1, protocol::FinishReason::kDeadline);
    });
    end = run(daemon.path(), {"complete", "x", "--deadline", "2.5"});
  }
  CHECK(asked == 2500);
  CHECK(end.code == 1);
  CHECK(end.output == "0 \n");
  CHECK(end.error == "facet: deadline: it passed before the answer's end\n");
  for (const char* seconds : {"0", "-1", "86400.1", "soon", "nan", "inf"}) {
    CAPTURE(seconds);
    CHECK(run("/nonexistent/facet.sock", {"complete", "x", "--deadline", seconds}).code == 2);
    CHECK(run("/nonexistent/facet.sock", {"chat", "--deadline", seconds}).code == 2);
  }
}

TEST_CASE("cli: --choices asks for several answers, shown one after the other or as JSON") {
  const auto ask = [](std::vector<std::string> more) {
    FakeDaemon daemon([](Peer& peer) {
      peer.greet({protocol::kFeatureChoices}, {.choices = 2});
      auto request = peer.next_of<protocol::Generate>();
      if (!request || request->choices != 2) return;
      peer.send_tokens(request->id + 1, 0, 2);
      peer.send_tokens(request->id, 0, 1);
      for (uint64_t choice = 0; choice < 2; ++choice) peer.send_finish(request->id + choice, 1);
    });
    more.insert(more.begin(), {"complete", "x", "--choices", "2"});
    return run(daemon.path(), more);
  };
  auto end = ask({});
  CHECK(end.code == 0);
  CHECK(end.output == "[choice 1]\n0 \n[choice 2]\n0 1 \n");
  end = ask({"--json"});
  CHECK(end.code == 0);
  CHECK(end.output.find("{\"type\":\"token\",\"choice\":1,\"sequence\":0,") == 0);
  CHECK(end.output.find("{\"type\":\"finish\",\"choice\":0,\"reason\":\"stop\"") != std::string::npos);
  CHECK(end.output.find("{\"type\":\"finish\",\"choice\":1,\"reason\":\"stop\"") != std::string::npos);
  for (const char* choices : {"0", "65", "x"}) {
    CHECK(run("/nonexistent/facet.sock", {"complete", "x", "--choices", choices}).code == 2);
  }
}
