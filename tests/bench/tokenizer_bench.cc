// How fast the tokenizer of a GGUF file is made and encodes: tokenizer_bench FILE.gguf TEXT [benchmark
// flags]. "text" is the text over and over, the other inputs are what a text can do at its worst; all have 4
// MiB.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <random>
#include <string>

#include "daemon/model/gguf.h"
#include "daemon/model/vocabulary_gguf.h"
#include "daemon/text/tokenizer.h"

namespace {

using namespace facet;

std::string repeated(std::string_view part) {
  std::string text;
  while (text.size() + part.size() <= text::Tokenizer::kMaxTextBytes) text += part;
  return text;
}

// One word of random characters out of `alphabet`.
std::string word_of(std::string_view alphabet) {
  std::mt19937 random(7);
  std::string text(text::Tokenizer::kMaxTextBytes, ' ');
  for (char& c : text) c = alphabet[random() % alphabet.size()];
  return text;
}

text::Tokenizer make(const model::GgufFile& file) {
  auto vocabulary = model::read_vocabulary(file);
  auto tokenizer = vocabulary.ok() ? text::Tokenizer::make(std::move(*vocabulary)) : vocabulary.error();
  if (tokenizer.ok()) return std::move(*tokenizer);
  std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 3) return std::fprintf(stderr, "tokenizer_bench FILE.gguf TEXT\n"), 2;
  auto file = model::GgufFile::open(argv[1]);
  if (!file.ok()) return std::fprintf(stderr, "%s\n", file.error().message.c_str()), 1;
  std::ifstream stream(argv[2]);
  const std::string ordinary((std::istreambuf_iterator<char>(stream)), {});
  const text::Tokenizer tokenizer = make(*file);

  benchmark::RegisterBenchmark("make", [&](benchmark::State& state) {
    for (auto _ : state) benchmark::DoNotOptimize(make(*file));
  })->Unit(benchmark::kMillisecond);
  const std::pair<const char*, std::string> texts[] = {
      {"text", repeated(ordinary)},
      {"a", repeated("a")},
      {"letters", word_of("abcdefghijklmnopqrstuvwxyz")},
      {"etaoin", word_of("etaoin")},
      {"newlines", repeated("\n")},
      {"spaces", repeated(" ")},
      {"chinese", repeated("的一是不了人我在有他这为之大来以个中上们")},
      {"openings", repeated("<unused")},
      {"no_utf8", repeated("\xFF")},
  };
  for (const auto& [name, text] : texts) {
    benchmark::RegisterBenchmark((std::string("encode/") + name).c_str(), [&tokenizer, text = text](
                                                                              benchmark::State& state) {
      for (auto _ : state) benchmark::DoNotOptimize(tokenizer.encode(text));
      state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * text.size()));
    })->Unit(benchmark::kMillisecond);
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
