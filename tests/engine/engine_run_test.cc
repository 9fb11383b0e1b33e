// The engine with a real backend (the reference) on a tiny model: what goes in as messages comes out as
// tokens.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/engine/bench.h"
#include "tests/model_tool/model_parts.h"

using namespace facet;
using engine::EngineOptions;
using protocol::FinishReason;
using test::Answer;
using test::Bench;
using test::greedy;

namespace {

nlohmann::json golden() {
  std::ifstream file(test::golden_path("gemma3.json"));
  return nlohmann::json::parse(file);
}

}  // namespace

TEST_CASE("greedy answers are the golden ones, for all prompts at once and in small steps") {
  EngineOptions options;
  options.chunk = 7;
  Bench bench(options);
  auto prompts = golden()["prompts"];
  std::vector<uint64_t> ids;
  for (auto& prompt : prompts) {
    ids.push_back(bench.start(greedy(prompt["ids"], static_cast<uint32_t>(prompt["greedy"].size()))));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    const Answer& answer = bench.answer(ids[i]);
    REQUIRE(answer.finish.has_value());
    CHECK(answer.finish->reason == FinishReason::kLength);
    CHECK(answer.finish->usage.prompt_tokens == prompts[i]["ids"].size());
    for (size_t step = 0; step < answer.ids.size(); ++step) {
      if (prompts[i]["greedy_margin"][step].get<double>() < 4e-3) break;
      REQUIRE(answer.ids[step] == prompts[i]["greedy"][step].get<uint32_t>());
    }
    CHECK(answer.ids.size() == prompts[i]["greedy"].size());
  }
  CHECK(bench.states() == std::vector{protocol::ModelState::kLoading, protocol::ModelState::kLoaded});
}

TEST_CASE("a sampled answer is the same alone and among others, and with another chunk") {
  auto request = [](uint32_t n) {
    protocol::Generate request = greedy({2, 10 + n, 600, 20 * n % 700, 7}, 24);
    for (uint32_t i = 0; i < n; ++i) std::get<protocol::TokenIds>(request.prompt).push_back(300 + 7 * i);
    request.sampling.temperature = 1;
    request.sampling.top_k = 40;
    request.sampling.repeat_penalty = 1.1f;
    request.sampling.seed = 100 + n;
    return request;
  };
  std::vector<Answer> alone;
  {
    Bench bench({});
    for (uint32_t n = 0; n < 12; ++n) alone.push_back(bench.answer(bench.start(request(n))));
  }
  CHECK(alone[0].ids != alone[1].ids);
  EngineOptions options;
  options.chunk = 3;
  options.max_sequences = 5;  // the others wait
  Bench bench(options);
  std::vector<uint64_t> ids;
  for (uint32_t n = 0; n < 12; ++n) ids.push_back(bench.start(request(n)));
  for (uint32_t n = 0; n < 12; ++n) CHECK(bench.answer(ids[n]).ids == alone[n].ids);
}

TEST_CASE(
    "a q8_0 cache: the same tokens with another chunk; heads that are no whole blocks are refused by name") {
  std::vector<std::vector<uint32_t>> answers;
  for (uint32_t chunk : {7u, 64u}) {
    EngineOptions options;
    options.chunk = chunk;
    Bench bench(options, true, FACET_TYPE_Q8_0);
    const Answer& answer = bench.answer(bench.start(greedy(test::tokens(90, 3), 12)));
    REQUIRE(answer.finish.has_value());
    answers.push_back(answer.ids);
  }
  CHECK(answers[0].size() == 12);
  CHECK(answers[0] == answers[1]);

  Bench bench({}, true, FACET_TYPE_Q8_0);
  const uint64_t id = bench.start(greedy({2, 3}, 4), test::tiny_model_path("e2b"));
  const Answer& refused = bench.answer(id);
  REQUIRE(refused.failed.has_value());
  CHECK(refused.failed->message.find("heads of 16 elements are not whole blocks of Q8_0") !=
        std::string::npos);
}

TEST_CASE("the text is that of the tokens, and ends before a stop string that spans them") {
  Bench bench({});
  protocol::Generate request = greedy({}, 40);
  request.prompt = std::string("Once upon a time");
  const Answer whole = bench.answer(bench.start(request));
  REQUIRE(whole.text.size() > 12);
  std::string stop;  // whole characters, of more than one token
  for (size_t i = 4; i < 8; ++i) stop += whole.tokens[i].text;
  REQUIRE(stop.size() > whole.tokens[4].text.size());
  request.stop = {"never said", stop};
  const Answer& stopped = bench.answer(bench.start(request));
  CHECK(stopped.text == whole.text.substr(0, whole.text.find(stop)));
  CHECK(stopped.finish->reason == FinishReason::kStop);
  CHECK(stopped.ids.size() <= whole.ids.size());
  CHECK(std::equal(stopped.ids.begin(), stopped.ids.end(), whole.ids.begin()));
}

TEST_CASE("without credit a sequence pauses while others go on") {
  Bench bench({});
  protocol::Generate request = greedy({2, 538, 776}, 20);
  request.credit = 4;
  uint64_t paused = bench.start(request);
  request.credit = 0;
  uint64_t other = bench.start(request);
  std::vector<uint32_t> ids = bench.answer(other).ids;
  bench.until([&] { return bench.so_far(paused).ids.size() == 4; });
  CHECK(bench.answer(bench.start(greedy({2, 5}, 3))).ids.size() == 3);
  CHECK(bench.so_far(paused).ids.size() == 4);
  bench.post(link::Credit{paused, 100});
  CHECK(bench.answer(paused).ids == ids);
}

TEST_CASE("cancelling ends a request wherever it is, and all pages come back") {
  EngineOptions options;
  options.max_sequences = 2;
  Bench bench(options);
  protocol::Generate request = greedy({2, 538, 776}, 0);  // until the context is full
  uint64_t running = bench.start(request), paused = 0, waiting = 0;
  request.credit = 1;
  paused = bench.start(request);
  waiting = bench.start(request);
  bench.until([&] { return bench.so_far(running).ids.size() > 10 && bench.so_far(paused).ids.size() == 1; });
  for (uint64_t id : {waiting, running, paused}) {
    bench.post(link::Cancel{id});
    const Answer& answer = bench.answer(id);
    REQUIRE(answer.finish.has_value());
    CHECK(answer.finish->reason == FinishReason::kCancelled);
    CHECK(answer.finish->usage.generated_tokens == answer.ids.size());
  }
  bench.until([&] { return bench.load().cache_pages > 0 && bench.load().running == 0; });
  CHECK(bench.load().cache_pages_free == bench.load().cache_pages);
  bench.post(link::Cancel{12345});  // nobody's
  CHECK(bench.answer(bench.start(greedy({2}, 2))).ids.size() == 2);
}

TEST_CASE("the context bounds prompt and answer") {
  EngineOptions options;
  options.context = 32;
  Bench bench(options);
  const Answer& full = bench.answer(bench.start(greedy({2, 3, 4, 5}, 0)));
  CHECK(full.ids.size() == 28);
  CHECK(full.finish->reason == FinishReason::kLength);
  const Answer& last = bench.answer(bench.start(greedy(protocol::TokenIds(31, 7), 5)));
  CHECK(last.ids.size() == 1);
  const Answer& over = bench.answer(bench.start(greedy(protocol::TokenIds(32, 7), 5)));
  REQUIRE(over.failed.has_value());
  CHECK(over.failed->code == FACET_TOO_LARGE);
  protocol::Generate text = greedy({}, 5);
  for (size_t bytes : {100, 4 << 20}) {
    text.prompt = std::string(bytes, 'x');
    const Answer& refused = bench.answer(bench.start(text));
    REQUIRE(refused.failed.has_value());
    CHECK(refused.failed->code == FACET_TOO_LARGE);
    // The longer one by its length alone.
    const bool encoded = refused.failed->message.find("or more") == std::string::npos;
    CHECK(encoded == (bytes == 100));
  }
}

TEST_CASE("a token that the model's file suppresses is never generated, whatever the client asks for") {
  Bench bench({});
  protocol::Generate request = greedy({2, 538, 776}, 20);
  const uint32_t first = bench.answer(bench.start(request)).ids.at(0);
  request.sampling.logit_bias = {{first, -std::numeric_limits<float>::infinity()}};
  const std::vector<uint32_t> banned = bench.answer(bench.start(request)).ids;

  const test::TemporaryFile file;
  test::Parts parts(test::tiny_model_path("gemma3"));
  parts.set_numbers("tokenizer.ggml.suppress_tokens", {first, first});
  test::write_file(file.path, parts.bytes());
  request.sampling.logit_bias = {};
  CHECK(bench.answer(bench.start(request, file.path)).ids == banned);
  request.sampling.logit_bias = {{first, 1000.0f}};
  CHECK(bench.answer(bench.start(request)).ids == std::vector<uint32_t>(20, first));
  CHECK(bench.answer(bench.start(request, file.path)).ids == banned);
  request.sampling.temperature = 1;
  request.sampling.repeat_penalty = 0.5f;
  const Answer& drawn = bench.answer(bench.start(request, file.path));
  CHECK(drawn.ids.size() == 20);
  CHECK(std::count(drawn.ids.begin(), drawn.ids.end(), first) == 0);
}

TEST_CASE("log-probabilities come with the tokens") {
  Bench bench({});
  protocol::Generate request = greedy({2, 538, 776}, 3);
  request.sampling.report_logprobs = true;
  request.sampling.logprobs = 4;
  for (const protocol::Token& token : bench.answer(bench.start(request)).tokens) {
    REQUIRE(token.alternatives.size() == 4);
    CHECK(token.alternatives[0].token == token.token);
    CHECK(token.alternatives[0].logprob == token.logprob);
    CHECK(token.logprob < 0);
    CHECK(token.alternatives[1].logprob <= token.logprob);
  }
}

TEST_CASE("what is wrong with a request is said, and the engine goes on") {
  EngineOptions options;
  options.max_sequences = 1;
  options.max_waiting = 2;
  Bench bench(options);
  auto code = [&](protocol::Generate request, std::string path = test::tiny_model_path("gemma3")) {
    const Answer& answer = bench.answer(bench.start(std::move(request), path));
    REQUIRE(answer.failed.has_value());
    CHECK_FALSE(answer.failed->message.empty());
    return answer.failed->code;
  };
  CHECK(code(greedy({2}, 1), "/nowhere/model.gguf") == FACET_NOT_FOUND);
  CHECK(bench.states().back() == protocol::ModelState::kFailed);
  CHECK(code(greedy({2}, 1), test::golden_path("gemma3.json")) == FACET_MALFORMED);
  CHECK(code(greedy({}, 1)) == FACET_INVALID_ARGUMENT);
  CHECK(code(greedy({2, 1024}, 1)) == FACET_INVALID_ARGUMENT);
  protocol::Generate request = greedy({2}, 1);
  request.sampling.temperature = -1;
  CHECK(code(request) == FACET_INVALID_ARGUMENT);
  request = greedy({2}, 1);
  request.stop = {""};
  CHECK(code(request) == FACET_INVALID_ARGUMENT);

  request = greedy({2}, 0);
  request.credit = 1;
  uint64_t running = bench.start(request);
  bench.until([&] { return !bench.so_far(running).ids.empty(); });
  uint64_t waiting = bench.start(request);
  bench.start(request);
  CHECK(code(request) == FACET_EXHAUSTED);
  CHECK(bench.answer(bench.start(request)).failed->retry_after_ms >= 100);
  bench.post(link::Cancel{running});
  bench.until([&] { return !bench.so_far(waiting).ids.empty(); });
}
