// The drafter beside its target, against what an independent engine gave.
#include "daemon/engine/draft_runner.h"
#include "tests/golden/golden.h"
#include "tests/model_tool/model_parts.h"

namespace test = facet::test;
namespace engine = facet::engine;
namespace model = facet::model;
using facet::model_tool::EvaluationSize;
using facet::model_tool::Part;
using facet::model_tool::Select;
using nlohmann::json;
using test::Ids;

namespace {

constexpr double kTolerance = 2e-3;

std::string drafter_path() {
  return test::tiny_model_path("mtp-dense31b-drafter");
}

// One prompt's drafts: the rows of logits and of states as the golden file has them.
struct Drafts {
  std::vector<float> hidden;  // the target's, after the prompt
  facet::text::Token next;    // the target's greedy token
  std::vector<std::vector<float>> logits, states;
};

Drafts run(const std::shared_ptr<const model::Model>& target,
           const std::shared_ptr<const model::Drafter>& drafter, const Ids& ids, uint32_t chunk, size_t count,
           facet_type cache) {
  EvaluationSize size;
  size.positions = static_cast<uint32_t>(ids.size());
  size.chunk = size.rows = std::min(chunk, size.positions);
  size.selected = 1;
  auto evaluation = test::open_evaluation(target, {chunk, 2, cache}, size);
  auto runner = engine::DraftRunner::create(evaluation->device(), drafter, cache, 1);
  REQUIRE_MESSAGE(runner.ok(), runner.error().message);
  for (size_t start = 0; start < ids.size(); start += size.chunk) {
    const auto part_ids = std::span(ids).subspan(start, std::min<size_t>(size.chunk, ids.size() - start));
    const Part part{0, part_ids, Select::kLast};
    evaluation->step({&part, 1});
    evaluation->retire(0);
  }
  Drafts drafts;
  drafts.hidden.resize(target->config().embedding);
  std::vector<float> logits(target->config().vocabulary), state;
  evaluation->read_logits(0, 1, logits);
  evaluation->read_hidden(0, 1, drafts.hidden);
  drafts.next = facet::model_tool::greedy(logits);
  state = drafts.hidden;
  for (size_t i = 0; i < count; ++i) {
    evaluation->draft(*runner, 0, facet::model_tool::greedy(logits), state);
    runner->read_logits(0, 1, logits);
    runner->read_hidden(0, 1, state);
    drafts.logits.push_back(logits);
    drafts.states.push_back(state);
  }
  return drafts;
}

}  // namespace

TEST_CASE("drafts are those of the independent engine, however the prompt was cut") {
  const json golden = test::read_json(test::golden_path("mtp-dense31b.json"));
  const std::vector<float> floats = test::read_floats(test::golden_path("mtp-dense31b.bin"));
  const auto target = test::load_model(test::tiny_model_path("dense31b"));
  auto drafter = model::Drafter::load(drafter_path(), target);
  REQUIRE_MESSAGE(drafter.ok(), drafter.error().message);
  auto at = [&](const json& offset, size_t count) {
    return std::span(floats).subspan(offset.get<size_t>(), count);
  };
  const size_t width = golden["n_vocab"], state_width = golden["n_embd_target"];

  double largest = 0;
  size_t rows = 0;
  for (const json& prompt : golden["prompts"]) {
    const Ids ids = prompt["ids"].get<Ids>();
    const Drafts whole = run(target, *drafter, ids, 1000, prompt["steps"].size(), FACET_TYPE_F32);
    CHECK(whole.next == prompt["next"].get<int>());
    largest = std::max(largest, test::largest_difference(at(prompt["h"], state_width), whole.hidden));
    for (size_t i = 0; i < prompt["steps"].size(); ++i, ++rows) {
      const json& step = prompt["steps"][i];
      largest = std::max(largest, test::largest_difference(at(step["logits"], width), whole.logits[i]));
      largest = std::max(largest, test::largest_difference(at(step["h_next"], state_width), whole.states[i]));
      if (step["margin"].get<double>() > 2 * kTolerance) {
        CHECK(facet::model_tool::greedy(whole.logits[i]) == step["draft"].get<int>());
      }
    }
    const Drafts cut = run(target, *drafter, ids, 7, prompt["steps"].size(), FACET_TYPE_F32);
    CHECK(cut.logits == whole.logits);
    CHECK(cut.states == whole.states);
    CHECK(run(target, *drafter, ids, 1000, 1, FACET_TYPE_F16).logits ==
          run(target, *drafter, ids, 1, 1, FACET_TYPE_F16).logits);
  }
  MESSAGE("largest difference " << largest << " in " << rows << " drafts");
  CHECK(rows == 12);
  CHECK(largest <= kTolerance);
}

TEST_CASE("a drafter has no soft cap, whatever its keys say") {
  const Ids ids = test::read_json(test::golden_path("mtp-dense31b.json"))["prompts"][0]["ids"].get<Ids>();
  const auto target = test::load_model(test::tiny_model_path("dense31b"));
  test::Parts parts(drafter_path());
  parts.set_f32("gemma4-assistant.final_logit_softcapping", 30);
  drop_key(parts, "gemma4-assistant.embedding_length_per_layer_input");  // it has none in any case
  const test::TemporaryFile file;
  test::write_file(file.path, parts.bytes());
  auto plain = model::Drafter::load(drafter_path(), target), capped = model::Drafter::load(file.path, target);
  REQUIRE(plain.ok());
  REQUIRE_MESSAGE(capped.ok(), capped.error().message);
  CHECK(run(target, *capped, ids, 1000, 2, FACET_TYPE_F32).logits ==
        run(target, *plain, ids, 1000, 2, FACET_TYPE_F32).logits);
}

TEST_CASE("a drafter that does not fit its target is refused by name") {
  auto refusal = [](const std::string& target, const std::string& drafter) {
    auto loaded = model::Drafter::load(drafter, test::load_model(test::tiny_model_path(target)));
    REQUIRE(!loaded.ok());
    return loaded.error().message;
  };
  CHECK(refusal("gemma3", drafter_path()).find("cannot draft for gemma3") != std::string::npos);
  CHECK(refusal("e2b", drafter_path()).find("768") != std::string::npos);
  CHECK(refusal("dense31b", test::tiny_model_path("e2b")).find("gemma4-assistant") != std::string::npos);
  CHECK(refusal("dense31b", "/nowhere/drafter.gguf").find("/nowhere/drafter.gguf") != std::string::npos);
  auto alone = model::Model::load(drafter_path());
  REQUIRE(!alone.ok());
  CHECK(alone.error().message.find("gemma4-assistant") != std::string::npos);
}
