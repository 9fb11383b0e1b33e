// The tiny models against what an independent engine and exact arithmetic gave, and against themselves: not
// one bit may depend on chunk, batch or threads.
#include <algorithm>
#include <cstring>

#include "tests/golden/golden.h"

namespace test = facet::test;
using nlohmann::json;
using test::Ids;

namespace {

const std::vector<std::string> kTypes{"f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1"};

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

double mean_kl(const std::vector<std::vector<float>>& ours, const Exact& exact, size_t width) {
  double sum = 0;
  size_t row = 0;
  for (const auto& logits : ours) {
    for (size_t position = 0; position * width < logits.size(); ++position, ++row) {
      sum += test::kl_divergence(row_of(exact.logits, row, width), row_of(logits, position, width));
    }
  }
  REQUIRE(row * width == exact.logits.size());
  return sum / static_cast<double>(row);
}

// Three times what the independent engine's own rounding costs on such a file, where that was recorded.
double kl_bound(const std::string& type) {
  const json f32 = Golden("gemma3").data["differences"];
  const std::string key = type + " weights: llama_stock vs numpy_f64 on the same file";
  if (f32.contains(key)) return 3 * f32[key]["kl_mean"].get<double>();
  if (type == "q5_0") return 1e-3;
  return 3 *
         Golden("gemma3-" + type).data["differences"]["llama_stock vs numpy_f64"]["kl_mean"].get<double>();
}

// Greedy tokens up to the first step where the two best are closer than what may differ.
void check_greedy(const std::string& name, double tolerance) {
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
  CHECK(compared > 0);
}

}  // namespace

TEST_CASE("f32 weights: the logits are those of the independent engine") {
  const Golden golden("gemma3");
  const auto model = test::load_model(test::tiny_model_path("gemma3"));
  const auto ours = test::run_prompts(model, golden.prompts(), {});
  const size_t width = model->config().vocabulary;
  double largest = 0;
  const size_t rows =
      golden.rows("llama_f32gelu", [&](size_t prompt, size_t position, std::span<const float> row) {
        largest = std::max(largest, test::largest_difference(row, row_of(ours[prompt], position, width)));
      });
  MESSAGE("largest difference " << largest << " in " << rows << " rows");
  CHECK(rows == 68);
  CHECK(largest <= 2e-3);
}

TEST_CASE("the longest golden prompt is longer than the window") {
  const auto model = test::load_model(test::tiny_model_path("gemma3"));
  CHECK(Golden("gemma3").prompts().back().size() > 4 * model->config().window);
}

TEST_CASE("exact arithmetic here is what was recorded") {
  for (const std::string name : {"gemma3-q4_1", "gemma3-q5_1"}) {
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
    CHECK(rows == 2);
  }
}

TEST_CASE("other weights: the logits are close to exact arithmetic on the same file") {
  for (const std::string& type : kTypes) {
    CAPTURE(type);
    const auto model = test::load_model(test::tiny_model_path("gemma3-" + type));
    const Exact exact("gemma3-" + type);
    const double kl = mean_kl(test::run_prompts(model, exact.prompts, {}), exact, model->config().vocabulary);
    MESSAGE(type << ": mean KL " << kl << ", bound " << kl_bound(type));
    CHECK(kl <= kl_bound(type));
  }
}

TEST_CASE("greedy tokens are those of the independent engine") {
  check_greedy("gemma3", 4e-3);
  for (const std::string name : {"gemma3-q4_1", "gemma3-q5_1"}) {
    check_greedy(name, Golden(name).data["differences"]["llama_stock vs numpy_f64"]["max_abs"].get<double>());
  }
}

TEST_CASE("not one bit depends on chunk, threads or batch") {
  std::vector<std::string> names{"gemma3"};
  for (const std::string& type : kTypes) names.push_back("gemma3-" + type);
  const std::vector<Ids> prompts = Golden("gemma3").prompts();
  for (const std::string& name : names) {
    const auto model = test::load_model(test::tiny_model_path(name));
    std::vector<facet_type> caches{FACET_TYPE_F32};
    if (name == "gemma3") caches.push_back(FACET_TYPE_F16);
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
}
