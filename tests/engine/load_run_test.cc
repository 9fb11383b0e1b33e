// The engine while it loads a model: requests of other models go on, and those that wait for it are as free
// as any that wait. A load lasts until the test opens the gate (held_backend.h).
#include <algorithm>

#include "daemon/engine/arrivals.h"
#include "tests/engine/bench.h"
#include "tests/engine/held.h"

using namespace facet;
using protocol::FinishReason;
using protocol::ModelState;
using protocol::Priority;
using test::Answer;
using test::Bench;
using test::gate;
using test::greedy;
using test::held;

namespace {

std::string first_model() {
  return test::tiny_model_path("gemma3");
}
std::string second_model() {
  return test::tiny_model_path("gemma3-q4_0");
}
std::string third_model() {
  return test::tiny_model_path("e4b");
}

protocol::Generate request(uint32_t seed = 1, uint32_t count = 8) {
  return greedy({2, 10 + seed, 20, 30, 40}, count);
}

void let_pass() {
  gate().open.release();
  gate().reached.acquire();
}

const std::vector<ModelState> kOneLoad = {ModelState::kLoading, ModelState::kLoaded};

}  // namespace

TEST_CASE("requests of a loaded model go on while another is loaded, and who waits is told so") {
  Bench bench(held());
  gate().open.release();
  const std::vector<uint32_t> whole = bench.answer(bench.start(request(), first_model())).ids;
  gate().reached.acquire();
  protocol::Generate endless = request(2, 0);
  const uint64_t runs = bench.start(endless, first_model());
  bench.until([&] { return !bench.so_far(runs).ids.empty(); });

  const uint64_t waits = bench.start(request(), second_model(), 1);
  gate().reached.acquire();
  const size_t before = bench.so_far(runs).ids.size();
  CHECK(bench.answer(bench.start(request(), first_model())).ids == whole);
  bench.until([&] { return bench.so_far(runs).ids.size() > before + 20; });
  const uint64_t behind = bench.start(request(), second_model(), 2);
  const std::vector<link::Position> told = {{waits, 1, 0}, {behind, 2, 0}};
  CHECK(bench.positions({waits, runs, 4711, behind}) == told);
  bench.until([&] { return bench.load().waiting == 2; });
  CHECK(bench.states().back() == ModelState::kLoading);
  CHECK_FALSE(bench.so_far(waits).ended());

  gate().open.release();
  CHECK(bench.answer(waits).ids.size() == 8);
  CHECK(bench.answer(behind).ids == bench.answer(waits).ids);
  CHECK(bench.answer(waits).finish->timings.queued > 0);
  bench.post(link::Cancel{runs});
  CHECK(bench.answer(runs).finish->reason == FinishReason::kCancelled);
}

TEST_CASE("several requests wait for one load, and start in their order with what was granted meanwhile") {
  engine::EngineOptions options;
  options.max_sequences = 1;
  std::vector<uint32_t> whole;
  {
    Bench bench(held(options));
    gate().open.release();
    whole = bench.answer(bench.start(request())).ids;
    gate().reached.acquire();
  }
  Bench bench(held(options));
  // More than are handed over at a time.
  std::vector<uint64_t> ids;
  for (uint32_t n = 0; n < 150; ++n) {
    protocol::Generate one = request();
    one.credit = 1;
    ids.push_back(bench.start(one, first_model()));
    if (n == 0) gate().reached.acquire();
  }
  for (const uint64_t id : ids) bench.post(link::Credit{id, 7});
  bench.positions({});  // they are there
  gate().open.release();
  for (const uint64_t id : ids) {
    REQUIRE(bench.answer(id).finish.has_value());
    CHECK(bench.so_far(id).ids == whole);
  }
  CHECK(bench.finished() == ids);
  CHECK(bench.states() == kOneLoad);
  CHECK_FALSE(gate().reached.try_acquire());
}

TEST_CASE("whoever has waited for a load has a fair share of the places, whoever came first") {
  engine::EngineOptions options;
  options.max_sequences = 8;
  options.slice_micros = 1;  // one request is taken over at a time
  Bench bench(held(options));
  std::vector<uint64_t> ids;
  for (uint32_t n = 0; n < 20; ++n) {
    ids.push_back(bench.start(request(n), first_model(), 1));
    if (n == 0) gate().reached.acquire();
  }
  const uint64_t other = bench.start(request(), first_model(), 2);
  bench.positions({});  // they are there
  gate().open.release();
  for (const uint64_t id : ids) REQUIRE(bench.answer(id).finish.has_value());
  REQUIRE(bench.answer(other).finish.has_value());
  const auto& finished = bench.finished();
  CHECK(std::find(finished.begin(), finished.end(), other) - finished.begin() < 8);
}

TEST_CASE(
    "of those who waited for a load the most urgent starts before the prompts of others are looked at") {
  engine::EngineOptions options;
  options.slice_micros = 1;  // one request is taken over at a time
  Bench bench(held(options));
  for (uint32_t n = 0; n < 20; ++n) {
    bench.start(greedy({4'000'000'000}, 8), first_model(), 1);  // no such token
    if (n == 0) gate().reached.acquire();
  }
  protocol::Generate urgent = request();
  urgent.priority = Priority::kInteractive;
  const uint64_t other = bench.start(urgent, first_model(), 2);
  bench.positions({});  // they are there
  gate().open.release();
  CHECK(bench.answer(other).ids.size() == 8);
  CHECK(bench.heard().front() == other);
}

TEST_CASE("one user's prompts that are refused wait behind another's request of their class") {
  engine::EngineOptions options;
  options.slice_micros = 1;
  Bench bench(held(options));
  std::vector<uint64_t> refused;
  for (uint32_t n = 0; n < 20; ++n) {
    refused.push_back(bench.start(greedy({4'000'000'000}, 8), first_model(), 1));
    if (n == 0) gate().reached.acquire();
  }
  const uint64_t other = bench.start(request(), first_model(), 2);
  bench.positions({});
  gate().open.release();
  CHECK(bench.answer(other).ids.size() == 8);
  for (const uint64_t id : refused) CHECK(bench.answer(id).failed.has_value());
  // What the first one took is charged, though nothing came of it.
  CHECK(bench.heard().at(1) == other);
}

TEST_CASE("who waits for a load may be cancelled, and comes to its deadline") {
  Bench bench(held());
  const uint64_t stays = bench.start(request(), first_model());
  gate().reached.acquire();
  const uint64_t cancelled = bench.start(request(), first_model());
  bench.post(link::Cancel{cancelled});
  CHECK(bench.answer(cancelled).finish->reason == FinishReason::kCancelled);
  const Micros deadline = now_micros() + 20'000;
  const uint64_t late = bench.start(request(), first_model(), 0, deadline);
  // Neither is it for a slow test to have it refused at once.
  const Answer& ended = bench.answer(late);
  CHECK(now_micros() >= deadline);
  if (ended.finish) CHECK(ended.finish->reason == FinishReason::kDeadline);
  if (ended.failed) CHECK(ended.failed->code == FACET_DEADLINE);
  const Answer& too_late = bench.answer(bench.start(request(), first_model(), 0, now_micros()));
  REQUIRE(too_late.failed.has_value());
  CHECK(too_late.failed->code == FACET_DEADLINE);
  // One that waits in front of others, and whose deadline is not the next.
  const uint64_t in_time = bench.start(request(), first_model(), 0, INT64_MAX);
  CHECK(bench.positions({cancelled, late, in_time, stays}).size() == 2);
  gate().open.release();
  CHECK(bench.answer(stays).ids.size() == 8);
  CHECK(bench.answer(in_time).ids == bench.answer(stays).ids);
  bench.until([&] { return bench.load().running == 0 && bench.load().waiting == 0; });
}

TEST_CASE("one load at a time, the most urgent first, and none for which nobody waits") {
  Bench bench(held());
  const uint64_t first = bench.start(request(), first_model());
  gate().reached.acquire();
  protocol::Generate background = request();
  background.priority = Priority::kBackground;
  const uint64_t nobody = bench.start(background, test::tiny_model_path("gemma3-q5_0"));
  const uint64_t second = bench.start(background, second_model());
  protocol::Generate urgent = request();
  urgent.priority = Priority::kInteractive;
  const uint64_t third = bench.start(urgent, third_model());
  bench.post(link::Cancel{nobody});
  CHECK(bench.answer(nobody).finish->reason == FinishReason::kCancelled);
  CHECK(bench.positions({first, second, third}).size() == 3);
  CHECK(bench.states().size() == 1);
  CHECK_FALSE(gate().reached.try_acquire());

  gate().open.release();
  CHECK(bench.answer(first).ids.size() == 8);
  let_pass();
  CHECK(bench.answer(third).ids.size() == 8);
  CHECK_FALSE(bench.so_far(second).ended());
  let_pass();
  CHECK(bench.answer(second).ids.size() == 8);
  CHECK(bench.states().size() == 6);
  // A load that was begun is not broken off; the next request finds the model.
  const uint64_t gone = bench.start(request(), test::tiny_model_path("e2b"));
  gate().reached.acquire();
  bench.post(link::Cancel{gone});
  CHECK(bench.answer(gone).finish->reason == FinishReason::kCancelled);
  gate().open.release();
  bench.until([&] { return bench.states().size() == 8; });
  CHECK(bench.answer(bench.start(request(), test::tiny_model_path("e2b"))).ids.size() == 8);
  CHECK_FALSE(gate().reached.try_acquire());
}

TEST_CASE("a load that fails ends all that wait for it by name, and the next request tries anew") {
  Bench bench(held());
  std::vector<uint64_t> ids;
  for (uint32_t n = 0; n < 3; ++n) ids.push_back(bench.start(request(), first_model(), n));
  gate().reached.acquire();
  const uint64_t other = bench.start(request(), second_model());
  bench.positions({});
  gate().fails = true;
  gate().open.release();
  for (const uint64_t id : ids) {
    const Answer& answer = bench.answer(id);
    REQUIRE(answer.failed.has_value());
    CHECK(answer.failed->code == FACET_EXHAUSTED);
    CHECK(answer.failed->message.find("the gate says no") != std::string::npos);
  }
  gate().reached.acquire();  // the other's
  gate().fails = false;
  gate().open.release();
  CHECK(bench.answer(other).ids.size() == 8);
  gate().open.release();
  CHECK(bench.answer(bench.start(request(), first_model())).ids.size() == 8);
  gate().reached.acquire();
  const std::vector<ModelState> states = {ModelState::kLoading, ModelState::kFailed,  ModelState::kLoading,
                                          ModelState::kLoaded,  ModelState::kLoading, ModelState::kLoaded};
  CHECK(bench.states() == states);
}

TEST_CASE("as many wait for a load as for a place, and leave room for other users") {
  engine::EngineOptions options;
  options.max_waiting = 4;
  Bench bench(held(options));
  const uint64_t first = bench.start(request(), first_model(), 1);
  gate().reached.acquire();
  const uint64_t second = bench.start(request(), first_model(), 1);
  const Answer& refused = bench.answer(bench.start(request(), first_model(), 1));
  REQUIRE(refused.failed.has_value());
  CHECK(refused.failed->code == FACET_EXHAUSTED);
  CHECK(refused.failed->message == "2 requests wait for this model already, 2 of them of this user");
  const uint64_t other = bench.start(request(), first_model(), 2);
  gate().open.release();
  for (const uint64_t id : {first, second, other}) CHECK(bench.answer(id).ids.size() == 8);
}

TEST_CASE("an id that waits already is refused, and credit without bound stays so") {
  engine::Arrivals model("tiny", "path", 4, [](const link::FromEngine&) { FAIL("nothing ends here"); });
  for (const uint32_t credit : {0u, 5u, UINT32_MAX - 1}) {
    protocol::Generate one = request();
    one.id = 7;
    one.credit = credit;
    REQUIRE(model.add({"path", one}, 1000).ok());
    CHECK(model.add({"path", one}, 1000).error().code == FACET_INVALID_ARGUMENT);
    CHECK(model.waiting() == 1);
    model.grant(7, 3);
    model.grant(8, 3);
    const auto taken = model.take(1);
    CHECK(taken.arrived == 1000);
    CHECK(taken.start.request.credit == (credit == 0 ? 0 : credit == 5 ? 8 : UINT32_MAX));
    CHECK(model.empty());
  }
}

TEST_CASE("prompts are those that were registered before the load began") {
  Bench bench(held());
  const uint64_t other = bench.start(request(), second_model());
  gate().reached.acquire();
  const uint64_t waits = bench.start(request(), first_model());
  std::string system;
  for (int n = 0; n < 200; ++n) system += "word ";
  bench.post(link::RegisterPrompt{"in time", "tiny", first_model(), system, false});
  bench.positions({});
  gate().open.release();
  CHECK(bench.answer(other).ids.size() == 8);
  gate().reached.acquire();
  bench.post(link::RegisterPrompt{"too late", "tiny", first_model(), "other " + system, false});
  bench.positions({});
  gate().open.release();
  CHECK(bench.answer(waits).ids.size() == 8);
  bench.until([&] { return bench.load().registered_prompts == 1 && bench.load().waiting == 0; });
  CHECK(bench.load().running == 0);
}

TEST_CASE("the engine stops in the middle of a load") {
  for (const bool with_another : {false, true}) {
    Bench bench(held());
    const uint64_t id = bench.start(request(), first_model());
    gate().reached.acquire();
    if (with_another) bench.start(request(), second_model());
    bench.stop();  // while the load stands
    CHECK_FALSE(bench.so_far(id).ended());
    gate().open.release();
  }
  CHECK_FALSE(gate().reached.try_acquire());
}
