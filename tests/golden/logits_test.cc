// The tiny models against what an independent engine and exact arithmetic gave, and against themselves: not
// one bit may depend on chunk, batch or threads.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>

#include "tests/golden/golden.h"
#include "tests/model_tool/model_parts.h"

namespace test = facet::test;
using nlohmann::json;
using test::Ids;

namespace {

// Models in float32 that an independent engine ran.
const std::vector<std::string> kExact{"gemma3", "e2b", "e4b", "dense31b", "moe26b", "moe26b-split", "k256"};
// Models in other types that it ran, and some that it did not.
const std::vector<std::string> kRounded{"gemma3-q4_1",  "gemma3-q5_1",   "e2b-q8_0",    "e4b-q4_0",
                                        "dense31b-f16", "dense31b-bf16", "moe26b-q8_0", "moe26b-q5_0",
                                        "k256-q4_k_m",  "k256-q6_k"};
const std::vector<std::string> kOthers{"gemma3-f16", "gemma3-bf16", "gemma3-q8_0", "gemma3-q4_0",
                                       "gemma3-q5_0"};
// That no independent engine ran: every matrix in a type of its own; queries, keys and values in one tensor.
const std::string kMixed = "e2b-mixed";
const std::vector<std::string> kFused{"e4b-fused", "e2b-fused", "dense31b-fused"};

std::vector<std::string> joined(std::vector<std::string> first, const std::vector<std::string>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// "moe26b" of "moe26b-q8_0": its prompts fit.
std::string family_of(const std::string& name) {
  return name.substr(0, name.find('-'));
}

// NAME.json and NAME.bin of the golden data.
struct Golden {
  explicit Golden(const std::string& name)
      : data(test::read_json(test::golden_path(name + ".json"))),
        floats(test::read_floats(test::golden_path(name + ".bin"))) {}

  // Calls `check` with each stored row of a source: prompt, position, logits.
  template <typename Check>
  size_t rows(const std::string& source, const Check& check) const {
    const size_t width = data["n_vocab"];
    size_t count = 0;
    for (size_t prompt = 0; prompt < data["prompts"].size(); ++prompt) {
      const json& arrays = data["prompts"][prompt]["arrays"];
      if (!arrays.contains(source)) continue;
      size_t offset = arrays[source]["offset"];
      for (size_t position : arrays[source]["rows"]) {
        check(prompt, position, std::span(floats).subspan(offset, width));
        offset += width;
        ++count;
      }
    }
    return count;
  }

  std::vector<Ids> prompts() const {
    std::vector<Ids> all;
    for (const json& prompt : data["prompts"]) all.push_back(prompt["ids"].get<Ids>());
    return all;
  }

  json data;
  std::vector<float> floats;
};

// NAME.logits.json and NAME.logits.bin beside a model: exact arithmetic on its weights.
struct Exact {
  explicit Exact(const std::string& name) {
    std::string stem = test::tiny_model_path(name);
    stem.resize(stem.size() - std::strlen(".gguf"));
    prompts = test::read_json(test::required_file(stem + ".logits.json", "scripts/test-models"))["prompts"]
                  .get<std::vector<Ids>>();
    logits = test::read_floats(stem + ".logits.bin");
  }
  std::vector<Ids> prompts;
  std::vector<float> logits;  // all rows of all prompts
};

std::span<const float> row_of(const std::vector<float>& logits, size_t position, size_t width) {
  return std::span(logits).subspan(position * width, width);
}

// The mean KL over all positions of those of the exact file's prompts that are among `prompts`.
double mean_kl(const std::vector<std::vector<float>>& ours, const Exact& exact,
               const std::vector<Ids>& prompts, size_t width) {
  double sum = 0;
  size_t row = 0, count = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const size_t positions = ours[i].size() / width;
    REQUIRE(positions == exact.prompts[i].size());
    if (std::find(prompts.begin(), prompts.end(), exact.prompts[i]) != prompts.end()) {
      for (size_t position = 0; position < positions; ++position) {
        sum += test::kl_divergence(row_of(exact.logits, row + position, width),
                                   row_of(ours[i], position, width));
      }
      count += positions;
    }
    row += positions;
  }
  REQUIRE(row * width == exact.logits.size());
  REQUIRE(count > 0);
  return sum / static_cast<double>(count);
}

// What the independent engine's own rounding costs on a file: its mean KL over some prompts.
struct Recorded {
  double kl;
  std::vector<Ids> prompts;
};

std::optional<Recorded> recorded(const std::string& name) {
  const bool has_file = std::find(kRounded.begin(), kRounded.end(), name) != kRounded.end();
  const Golden golden(has_file ? name : family_of(name));
  const json& differences = golden.data["differences"];
  std::string key = "llama_stock vs numpy_f64";
  if (!has_file) key = name.substr(name.find('-') + 1) + " weights: " + key + " on the same file";
  if (!differences.contains(key)) return std::nullopt;
  return Recorded{differences[key]["kl_mean"], golden.prompts()};
}

// Whether matmuls round their activations to integers.
bool quantises(const std::string& name) {
  return !name.ends_with("f16");
}

// Greedy tokens up to the first step where the two best are closer than what may differ.
size_t check_greedy(const std::string& name, double tolerance) {
  const Golden golden(name);
  const auto model = test::load_model(test::tiny_model_path(name));
  size_t compared = 0;
  for (const json& prompt : golden.data["prompts"]) {
    const std::vector<double> margins = prompt["greedy_margin"];
    const auto unsure = std::find_if(margins.begin(), margins.end(), [&](double m) { return m < tolerance; });
    const auto sure = static_cast<size_t>(unsure - margins.begin());
    Ids expected = prompt["greedy"].get<Ids>();
    expected.resize(sure);
    CHECK(test::continue_greedily(model, prompt["ids"].get<Ids>(), sure, {}) == expected);
    compared += sure;
  }
  MESSAGE(name << ": " << compared << " greedy tokens compared");
  return compared;
}

// Whether heads are long enough for a Q8_0 cache.
bool has_whole_blocks(const std::string& name) {
  return name == "gemma3" || name == "k256";
}

void check_bits(const std::string& name, size_t most_prompts) {
  std::vector<Ids> prompts = Golden(name == "moe26b-split" ? name : family_of(name)).prompts();
  prompts.resize(std::min(prompts.size(), most_prompts));
  const auto model = test::load_model(test::tiny_model_path(name));
  std::vector<facet_type> caches{FACET_TYPE_F32};
  if (name == family_of(name)) caches.push_back(FACET_TYPE_F16);
  if (has_whole_blocks(name)) caches.push_back(FACET_TYPE_Q8_0);
  for (facet_type cache : caches) {
    const auto whole = test::run_prompts(model, prompts, {.chunk = 0, .threads = 1, .cache = cache});
    for (uint32_t threads : {1u, 2u}) {
      for (uint32_t chunk : {1u, 7u, 0u}) {
        CAPTURE(name);
        CAPTURE(cache);
        CAPTURE(threads);
        CAPTURE(chunk);
        CHECK(test::run_prompts(model, prompts, {chunk, threads, cache}) == whole);
        for (size_t i = 0; i < prompts.size(); ++i) {
          CHECK(test::run_prompts(model, {prompts[i]}, {chunk, threads, cache})[0] == whole[i]);
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("f32 weights: the logits are those of the independent engine") {
  for (const std::string& name : kExact) {
    CAPTURE(name);
    const Golden golden(name);
    const auto model = test::load_model(test::tiny_model_path(name));
    const auto ours = test::run_prompts(model, golden.prompts(), {});
    const size_t width = model->config().vocabulary;
    double largest = 0;
    const size_t rows =
        golden.rows("llama_f32gelu", [&](size_t prompt, size_t position, std::span<const float> row) {
          largest = std::max(largest, test::largest_difference(row, row_of(ours[prompt], position, width)));
        });
    MESSAGE(name << ": largest difference " << largest << " in " << rows << " rows");
    CHECK(rows >= golden.prompts().size());
    CHECK(largest <= 2e-3);
  }
}

// e4b-fused has an output matrix of its own, too; layers of e2b-fused that share a cache come with keys and
// values all the same; dense31b-fused has global layers without values, so not fused.
TEST_CASE("f32 weights: fused QKV, against exact arithmetic") {
  for (const std::string& name : kFused) {
    CAPTURE(name);
    const auto model = test::load_model(test::tiny_model_path(name));
    const Exact exact(name);
    const auto ours = test::run_prompts(model, exact.prompts, {});
    std::vector<float> rows;
    for (const auto& logits : ours) rows.insert(rows.end(), logits.begin(), logits.end());
    CHECK(test::largest_difference(exact.logits, rows) <= 2e-3);
  }
}

TEST_CASE("a Gemma 4 that counts 0 experts is one without") {
  test::Parts parts(test::tiny_model_path("dense31b"));
  parts.set_u32("gemma4.expert_count", 0);
  const test::TemporaryFile file;
  test::write_file(file.path, parts.bytes());
  CHECK(test::load_model(file.path)->program().print() ==
        test::load_model(test::tiny_model_path("dense31b"))->program().print());
}

TEST_CASE("a Gemma 4 without the key of the soft cap has one of 30, with 0 none") {
  const std::string path = test::tiny_model_path("e2b"), key = "gemma4.final_logit_softcapping";
  const test::TemporaryFile file;
  auto changed = [&](auto change) {
    test::Parts parts(path);
    change(parts);
    test::write_file(file.path, parts.bytes());
    return test::load_model(file.path);
  };
  const std::vector<Ids> prompts{Golden("e2b").prompts()[1]};
  const auto with = test::load_model(path);
  CHECK(with->program().print().find("soft_cap") != std::string::npos);
  CHECK(test::run_prompts(changed([&](test::Parts& p) { test::drop_key(p, key); }), prompts, {}) ==
        test::run_prompts(with, prompts, {}));
  const auto uncapped = changed([&](test::Parts& p) { p.set_f32(key, 0); });
  CHECK(uncapped->program().print().find("soft_cap") == std::string::npos);
}

TEST_CASE("the longest golden prompt is longer than the window") {
  for (const std::string& name : kExact) {
    CAPTURE(name);
    const auto model = test::load_model(test::tiny_model_path(name));
    CHECK(Golden(name).prompts().back().size() > 2 * model->config().window);
  }
}

TEST_CASE("exact arithmetic here is what was recorded") {
  for (const std::string& name : kRounded) {
    CAPTURE(name);
    const Golden golden(name);
    const Exact exact(name);
    const size_t width = golden.data["n_vocab"];
    const size_t rows =
        golden.rows("numpy_f64", [&](size_t prompt, size_t position, std::span<const float> row) {
          size_t first = 0;
          const Ids ids = golden.prompts()[prompt];
          for (const Ids& other : exact.prompts) {
            if (other == ids) break;
            first += other.size();
          }
          CHECK(test::largest_difference(row, row_of(exact.logits, first + position, width)) < 1e-5);
        });
    CHECK(rows >= 2);
  }
}

TEST_CASE("other weights: the logits are as close to exact arithmetic as the independent engine's") {
  constexpr double kLeast = 1e-3;
  double logarithms = 0;  // of the ratios
  int count = 0;
  for (const std::string& name : joined(kRounded, kOthers)) {
    CAPTURE(name);
    const auto model = test::load_model(test::tiny_model_path(name));
    const Exact exact(name);
    const auto ours = test::run_prompts(model, exact.prompts, {});
    const size_t width = model->config().vocabulary;
    const double kl = mean_kl(ours, exact, exact.prompts, width);
    const auto known = recorded(name);
    CHECK(kl <= std::max(kLeast, known ? 3 * known->kl : 0));
    if (!known) {
      MESSAGE(name << ": mean KL " << kl);
      continue;
    }
    const double same = mean_kl(ours, exact, known->prompts, width), ratio = same / known->kl;
    MESSAGE(name << ": mean KL " << kl << ", of the known prompts " << same << ", " << ratio
                 << " times the independent engine's");
    if (!quantises(name)) continue;  // nearly exact: it would make any mean small
    logarithms += std::log(ratio);
    ++count;
  }
  const double mean = std::exp(logarithms / count);
  MESSAGE("geometric mean of the ratios of " << count << " files whose activations are quantised: " << mean);
  CHECK(count >= 10);
  CHECK(mean <= 1.2);
}

TEST_CASE("a type of its own for every matrix: as close to exact arithmetic as the shape in q4_0") {
  const auto model = test::load_model(test::tiny_model_path(kMixed));
  const Exact exact(kMixed);
  const auto ours = test::run_prompts(model, exact.prompts, {});
  const double kl = mean_kl(ours, exact, exact.prompts, model->config().vocabulary);
  const json differences = Golden(family_of(kMixed)).data["differences"];
  const double known = differences["q4_0 weights: llama_stock vs numpy_f64 on the same file"]["kl_mean"];
  MESSAGE(kMixed << ": mean KL " << kl << ", of the independent engine in q4_0 " << known);
  CHECK(kl <= 3 * known);
}

TEST_CASE("a q8_0 cache: the logits are near exact arithmetic and those of an f16 cache, or it is refused") {
  for (const std::string& name : kExact) {
    CAPTURE(name);
    const auto model = test::load_model(test::tiny_model_path(name));
    if (!has_whole_blocks(name)) {
      auto refused = facet::model_tool::Evaluation::create(
          model, {test::backend_under_test(), 1, FACET_TYPE_Q8_0}, facet::model_tool::one_sequence(8));
      REQUIRE(!refused.ok());
      CHECK(refused.error().message.find("heads of 16 elements are not whole blocks of Q8_0") !=
            std::string::npos);
      continue;
    }
    const Exact exact(name);
    const size_t width = model->config().vocabulary;
    const auto half = test::run_prompts(model, exact.prompts, {.cache = FACET_TYPE_F16});
    const auto ours = test::run_prompts(model, exact.prompts, {.cache = FACET_TYPE_Q8_0});
    const double kl = mean_kl(ours, exact, exact.prompts, width);
    double from_half = 0;
    size_t rows = 0;
    for (size_t i = 0; i < ours.size(); ++i) {
      for (size_t at = 0; at < ours[i].size() / width; ++at, ++rows) {
        from_half += test::kl_divergence(row_of(half[i], at, width), row_of(ours[i], at, width));
      }
    }
    from_half /= static_cast<double>(rows);
    MESSAGE(name << ": mean KL from exact arithmetic " << kl << " (f16 cache "
                 << mean_kl(half, exact, exact.prompts, width) << "), from an f16 cache " << from_half);
    CHECK(kl <= 2e-4);
    CHECK(from_half <= 2e-4);
  }
}

TEST_CASE("greedy tokens are those of the independent engine") {
  for (const std::string& name : kExact) CHECK(check_greedy(name, 4e-3) > 90);
  size_t compared = 0;  // of some files none: the margins are below what rounding moves
  for (const std::string& name : kRounded) {
    const json moved = Golden(name).data["differences"]["llama_stock vs numpy_f64"]["max_abs"];
    compared += check_greedy(name, moved.get<double>());
  }
  CHECK(compared > 300);
}

// Each file is a subcase, so that an emulator can be given some of them.
TEST_CASE("not one bit depends on chunk, threads or batch") {
  for (const std::string& name : joined(joined(kExact, kRounded), kOthers)) {
    SUBCASE(name.c_str()) {
      check_bits(name, SIZE_MAX);
    }
  }
  // Their families' files have run the longest prompt.
  for (const std::string& name : joined(kFused, {kMixed})) {
    SUBCASE(name.c_str()) {
      check_bits(name, 3);
    }
  }
}
