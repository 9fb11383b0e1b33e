// System prompts that the administrator registered: read once, kept for everyone, and no token changes.
#include <algorithm>
#include <random>

#include "daemon/engine/chat_prompt.h"
#include "daemon/engine/served_model.h"
#include "plugins/host/discovery.h"
#include "tests/engine/bench.h"

using namespace facet;
using protocol::FinishReason;
using protocol::Priority;
using protocol::Role;
using test::Answer;
using test::Bench;
using test::greedy;
using test::tokens;

namespace {

constexpr uint32_t kPage = 64;

// So many words that depend on the seed.
std::string words(uint32_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text;
  for (uint32_t word = 0; word < count; ++word) {
    if (word > 0) text += ' ';
    for (uint32_t letters = 2 + random() % 6; letters > 0; --letters) {
      text += static_cast<char>('a' + random() % 26);
    }
  }
  return text;
}

protocol::Generate chat(const std::string& system, const std::string& user, uint32_t max_tokens = 6) {
  protocol::Chat chat;
  chat.messages = {{.role = Role::kSystem, .content = {{system}}}, {.content = {{user}}}};
  protocol::Generate request;
  request.prompt = std::move(chat);
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0;
  request.ignore_end = true;
  return request;
}

link::RegisterPrompt prompt(const std::string& system, const std::string& name = "p",
                            const std::string& model = "gemma3") {
  return {name, "tiny", test::tiny_model_path(model), system, false};
}

// What a chat gives where nothing is registered and nobody else is.
Answer alone(protocol::Generate request, const std::string& path, engine::EngineOptions options = {}) {
  Bench bench(options);
  const Answer answer = bench.answer(bench.start(std::move(request), path, 99));
  REQUIRE_MESSAGE(answer.finish.has_value(), answer.failed->message);
  CHECK(answer.finish->usage.cached_tokens == 0);
  return answer;
}

// Loads the model and waits until so many prompts are kept.
void load(Bench& bench, const std::string& path, uint32_t prompts) {
  CHECK(bench.answer(bench.start(greedy({2, 20, 21}, 1), path, 1000)).ids.size() == 1);
  bench.until([&] {
    return bench.load().registered_prompts == prompts && bench.load().running + bench.load().waiting == 0;
  });
}

// Whole pages of what chats with that system prompt begin with.
uint32_t kept_of(const std::string& system, const std::string& path, bool thinking = false) {
  const auto model = *model::Model::load(path);
  const auto format = *engine::chat_format_of(*model);
  const auto beginning = engine::chat_beginning(system, thinking, format, model->tokenizer());
  REQUIRE_MESSAGE(beginning.ok(), beginning.error().message);
  return static_cast<uint32_t>(beginning->size()) / kPage * kPage;
}

}  // namespace

TEST_CASE("what chats begin with is what all of them have in common") {
  for (const char* name : {"gemma3", "e2b"}) {
    CAPTURE(name);
    const auto model = *model::Model::load(test::tiny_model_path(name));
    const auto format = *engine::chat_format_of(*model);
    const std::string system = words(40, 1) + ".";
    const auto beginning = *engine::chat_beginning(system, false, format, model->tokenizer());
    for (const std::string user : {"a", "Zürich", "1", "?", "\"quoted\"", "<|turn>", ""}) {
      CAPTURE(user);
      const auto text = *engine::chat_text(std::get<protocol::Chat>(chat(system, user).prompt), format);
      const auto whole = *format.encode(model->tokenizer(), text);
      const auto same = std::mismatch(beginning.begin(), beginning.end(), whole.begin(), whole.end());
      CHECK(same.first == beginning.end());
    }
    // The system's text is in it, and at most the opening of the user's turn.
    const auto text = *model->tokenizer().encode(system);
    CHECK(beginning.size() >= text.size());
    CHECK(beginning.size() < text.size() + 16);
  }
}

TEST_CASE("each user's chats with a registered system prompt begin behind it, with the same tokens") {
  for (const char* name : {"gemma3", "e2b"}) {
    const std::string path = test::tiny_model_path(name);
    const std::string system = words(80, 2);
    const uint32_t kept = kept_of(system, path);
    REQUIRE(kept >= 4 * kPage);  // more than the tiny models' windows
    const auto hello = chat(system, "Hello"), other = chat(system, words(30, 3));
    const Answer hello_alone = alone(hello, path), other_alone = alone(other, path);
    for (const uint32_t chunk : {256u, 48u}) {
      CAPTURE(name);
      CAPTURE(chunk);
      engine::EngineOptions options;
      options.chunk = chunk;
      Bench bench(options);
      bench.post(prompt(system, "p", name));
      load(bench, path, 1);
      CHECK(bench.load().registered_tokens == kept);
      const uint64_t computed = bench.load().computed_tokens;
      CHECK(computed == 3 + kept);
      for (const uint64_t user : {1, 2}) {
        const Answer first = bench.answer(bench.start(hello, path, user));
        CHECK(first.ids == hello_alone.ids);
        CHECK(first.text == hello_alone.text);
        CHECK(first.finish->usage.cached_tokens == kept);
      }
      for (const uint64_t user : {2, 3}) {
        const Answer second = bench.answer(bench.start(other, path, user));
        CHECK(second.ids == other_alone.ids);
        CHECK(second.finish->usage.cached_tokens == kept);
      }
      // Another system prompt has nothing of it but what happens to be equal.
      const auto unlike = bench.answer(bench.start(chat("No. " + system, "Hello"), path, 1));
      CHECK(unlike.finish->usage.cached_tokens == 0);
    }
  }
}

TEST_CASE("a registered prompt counts with tools behind it, from a developer, and for those who think") {
  const std::string path = test::tiny_model_path("e2b");
  // With tools the system's turn goes on behind the text, so its last page is another if that is near its
  // end.
  uint32_t page_less = 0;
  for (uint32_t count = 24; count < 40; ++count) {
    const std::string system = words(count, 4);
    Bench bench({});
    bench.post(prompt(system, "p", "e2b"));
    auto thinking = prompt(system, "t", "e2b");
    thinking.thinking = true;
    bench.post(thinking);
    load(bench, path, 2);
    const uint32_t kept = kept_of(system, path);
    auto with_tools = chat(system, "Hello");
    std::get<protocol::Chat>(with_tools.prompt).tools = {
        R"({"type":"function","function":{"name":"now","description":"x","parameters":{"type":"object"}}})"};
    const Answer calls = bench.answer(bench.start(with_tools, path, 1));
    const uint32_t cached = calls.finish->usage.cached_tokens;
    CHECK((cached == kept || cached + kPage == kept));
    page_less += cached < kept;
    if (cached < kept || page_less == 0) CHECK(calls.ids == alone(with_tools, path).ids);
    auto developer = chat(system, "Hello");
    std::get<protocol::Chat>(developer.prompt).messages[0].role = Role::kDeveloper;
    CHECK(bench.answer(bench.start(developer, path, 2)).finish->usage.cached_tokens == kept);
    auto thinks = chat(system, "Hello");
    std::get<protocol::Chat>(thinks.prompt).thinking = true;
    CHECK(bench.answer(bench.start(thinks, path, 3)).finish->usage.cached_tokens ==
          kept_of(system, path, true));
  }
  CHECK(page_less > 0);
}

TEST_CASE("nothing that a user sends is found by another") {
  const std::string path = test::tiny_model_path("gemma3");
  const std::string system = words(100, 5), question = words(100, 6), unregistered = words(100, 7);
  Bench bench({});
  bench.post(prompt(system));
  load(bench, path, 1);
  const uint32_t kept = kept_of(system, path);
  const auto cached = [&](const protocol::Generate& request, uint64_t user) {
    return bench.answer(bench.start(request, path, user)).finish->usage.cached_tokens;
  };
  CHECK(cached(chat(system, question), 1) == kept);
  CHECK(cached(chat(system, question), 1) > kept);  // its own
  CHECK(cached(chat(system, question), 2) == kept);
  CHECK(cached(chat(unregistered, question), 1) == 0);
  CHECK(cached(chat(unregistered, question), 2) == 0);
}

TEST_CASE("prompts that cannot be kept are left out, and the others are kept") {
  const std::string path = test::tiny_model_path("gemma3");
  const std::string system = words(60, 8);
  const uint32_t kept = kept_of(system, path);
  Bench bench({});
  bench.post(prompt("Be terse.", "less than a page"));
  bench.post(prompt(words(8000, 9), "longer than the context"));
  auto thinking = prompt(system, "no thoughts in Gemma 3");
  thinking.thinking = true;
  bench.post(thinking);
  bench.post(prompt(system));
  bench.post(prompt(words(50, 10), "of another model", "e2b"));
  load(bench, path, 1);
  CHECK(bench.load().registered_tokens == kept);
  CHECK(bench.states() ==
        std::vector<protocol::ModelState>{protocol::ModelState::kLoading, protocol::ModelState::kLoaded});
  bench.post(prompt(words(70, 11), "too late"));
  CHECK(bench.answer(bench.start(chat(system, "Hello"), path, 1)).finish->usage.cached_tokens == kept);
  CHECK(bench.load().registered_prompts == 1);
}

TEST_CASE("prompts leave room for a sequence of full length, whatever is registered") {
  const std::string path = test::tiny_model_path("gemma3");
  engine::EngineOptions options;
  options.context = 512;
  options.chunk = 48;
  options.max_sequences = 3;
  options.cache_bytes = 2 << 20;
  Bench bench(options);
  std::vector<std::string> systems;
  for (uint32_t n = 0; n < 40; ++n) {
    systems.push_back(words(90, 20 + n));
    bench.post(prompt(systems[n], "p" + std::to_string(n)));
  }
  const auto full = bench.answer(bench.start(greedy(tokens(400, 12), 0), path, 1));
  REQUIRE(full.finish.has_value());
  CHECK(full.ids.size() == 512 - 400);
  bench.until([&] { return bench.load().running + bench.load().waiting == 0; });
  const uint32_t prompts = bench.load().registered_prompts;
  CHECK(prompts > 0);
  CHECK(prompts < 40);
  const uint64_t free = bench.load().cache_pages_free;
  CHECK(free < bench.load().cache_pages);
  // Others' requests drive out what is not registered, and never a page of what is.
  for (uint32_t n = 0; n < 12; ++n) {
    const auto long_one = bench.answer(bench.start(greedy(tokens(500, 30 + n), 8), path, 2 + n));
    CHECK(long_one.ids.size() == 8);
  }
  for (uint32_t n = 0; n < prompts; ++n) {
    const auto request = chat(systems[n], "Hello");
    const auto answer = bench.answer(bench.start(request, path, 50 + n));
    CHECK(answer.finish->usage.cached_tokens == kept_of(systems[n], path));
    CHECK(answer.ids == alone(request, path, options).ids);
  }
  bench.until([&] { return bench.load().running + bench.load().waiting == 0; });
  CHECK(bench.load().cache_pages_free == free);
}

TEST_CASE("a prompt that is read takes no one's place in the queue, and gives its own to who is urgent") {
  const std::string path = test::tiny_model_path("gemma3");
  const std::string system = words(100, 13);
  engine::EngineOptions options;
  options.max_sequences = options.max_waiting = 1;
  options.chunk = kPage;
  auto device = plugins::open_device("reference", 1);
  REQUIRE(device.ok());
  const std::vector<link::RegisterPrompt> registered = {prompt(system)};
  size_t finishes = 0;
  auto loaded = engine::ServedModel::load(*device, path, registered, options, [&](link::FromEngine event) {
    // Of the prompt nothing is told.
    if (auto* started = std::get_if<link::Started>(&event)) CHECK(started->id < 10);
    if (auto* token = std::get_if<protocol::Token>(&event)) CHECK(token->id < 10);
    if (auto* finish = std::get_if<protocol::Finish>(&event)) {
      CHECK(finish->id < 10);
      ++finishes;
    }
  });
  REQUIRE_MESSAGE(loaded.ok(), loaded.error().message);
  engine::ServedModel& model = **loaded;
  const auto add = [&](uint64_t id) {
    auto request = greedy(tokens(40, 14), 4);
    request.id = id;
    request.priority = Priority::kInteractive;
    return model.add({path, std::move(request), id, id, "app"}, now_micros());
  };
  const auto run_until = [&](auto done) {
    while (!done()) {
      model.admit();
      size_t which = 0;
      while (!model.ready(which)) ++which;
      model.slice(which);
    }
  };
  CHECK(model.load().waiting == 1);
  REQUIRE(add(1).ok());
  CHECK(add(2).error().code == FACET_EXHAUSTED);
  run_until([&] { return finishes == 1; });
  const uint64_t of_one = model.load().computed_tokens;
  CHECK(of_one == 40 + 3);

  run_until([&] { return model.load().computed_tokens == of_one + 2 * kPage; });
  CHECK(model.load().running == 1);
  REQUIRE(add(3).ok());
  model.admit();
  CHECK(model.load().evicted == 1);
  REQUIRE(add(4).ok());
  CHECK(add(5).error().code == FACET_EXHAUSTED);
  run_until([&] { return finishes == 3; });
  CHECK(model.load().registered_prompts == 0);

  run_until([&] { return model.load().registered_prompts == 1; });
  // It went on where it had been.
  CHECK(model.load().computed_tokens == 3 * of_one + kept_of(system, path));
  CHECK(model.load().running + model.load().waiting == 0);
}

TEST_CASE("random chats over registered prompts in a small cache: no token changes, no page is lost") {
  std::mt19937 random(15);
  const std::string path = test::tiny_model_path("gemma3");
  std::vector<std::string> systems;
  for (uint32_t n = 0; n < 3; ++n) systems.push_back(words(30 + 20 * n, n == 2 ? 40 : 41));
  std::vector<protocol::Generate> requests;
  std::vector<Answer> expected;
  engine::EngineOptions options;
  options.context = 512;
  options.chunk = 48;
  options.max_sequences = 4;
  options.cache_bytes = 3 << 20;
  options.slice_micros = 1;
  {
    Bench bench(options);
    for (uint32_t n = 0; n < 28; ++n) {
      auto request = random() % 4 == 0
                         ? greedy(tokens(50 + random() % 350, random() % 4), 8)
                         : chat(systems[random() % 3], words(1 + random() % 12, random() % 3), 8);
      request.priority = static_cast<Priority>(random() % 3);
      expected.push_back(bench.answer(bench.start(request, path, 100 + n)));
      REQUIRE(expected.back().finish->usage.cached_tokens == 0);
      requests.push_back(std::move(request));
    }
  }
  Bench bench(options, false);
  for (uint32_t n = 0; n < 3; ++n) bench.post(prompt(systems[n], std::to_string(n)));
  std::vector<uint64_t> ids;
  for (size_t n = 0; n < requests.size(); ++n) {
    ids.push_back(bench.start(requests[n], path, 1 + random() % 3));
    if (n == 10) bench.go();
    if (n > 10 && random() % 4 == 0) bench.post(link::Cancel{ids[random() % ids.size()]});
  }
  uint32_t cancelled = 0;
  for (size_t n = 0; n < ids.size(); ++n) {
    const Answer& answer = bench.answer(ids[n]);
    REQUIRE(answer.finish.has_value());
    cancelled += answer.finish->reason == FinishReason::kCancelled;
    REQUIRE(answer.ids.size() <= expected[n].ids.size());
    if (answer.finish->reason != FinishReason::kCancelled) CHECK(answer.ids == expected[n].ids);
    CHECK(std::equal(answer.ids.begin(), answer.ids.end(), expected[n].ids.begin()));
  }
  CHECK(cancelled > 0);
  bench.until([&] {
    return bench.load().registered_prompts == 3 && bench.load().running + bench.load().waiting == 0;
  });
  // All prompts' pages and no others are missing.
  const uint64_t set_aside = bench.load().cache_pages - bench.load().cache_pages_free;
  CHECK(set_aside > 0);
  for (uint32_t n = 0; n < 3; ++n) {
    const auto answer = bench.answer(bench.start(chat(systems[n], "Hello"), path, 70 + n));
    CHECK(answer.finish->usage.cached_tokens == kept_of(systems[n], path));
  }
  bench.until([&] { return bench.load().running + bench.load().waiting == 0; });
  CHECK(bench.load().cache_pages - bench.load().cache_pages_free == set_aside);
}
