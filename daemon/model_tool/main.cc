// facet-model: looks into, checks and measures a model without a daemon.

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>

#include "daemon/base/log.h"
#include "daemon/engine/cache_plan.h"
#include "daemon/model_tool/commands.h"

namespace facet::model_tool {
namespace {

constexpr uint32_t kMostTokens = 1u << 20;
constexpr uint32_t kMostSequences = 1024;
constexpr uint32_t kMostThreads = 1024;

using Command = std::function<Result<void>()>;

// A subcommand that becomes the chosen one if it is parsed.
CLI::App* add_command(CLI::App& app, Command& chosen, const std::string& name, const std::string& about,
                      std::string& file, Command run) {
  CLI::App* command = app.add_subcommand(name, about);
  command->add_option("FILE", file, "a GGUF file")->required();
  command->callback([&chosen, run = std::move(run)] { chosen = run; });
  return command;
}

void add_compute(CLI::App* command, ComputeOptions& compute) {
  command->add_option("--backend", compute.backend,
                      "onednn, reference, ...; by default onednn, else reference");
  command->add_option("--threads", compute.threads, "of the backend; 0: it chooses")
      ->check(CLI::Range(0u, kMostThreads));
  command->add_option("--packed-weights", compute.packed_weights,
                      "where copies of weights are that run faster; bench makes them; none, or auto: the "
                      "user's cache folder (default auto)");
  command->add_option_function<std::string>(
      "--cache",
      [&compute](const std::string& name) {
        auto type = engine::cache_type_of(name);
        if (!type.ok()) throw CLI::ValidationError("--cache", type.error().message);
        compute.cache_type = *type;
      },
      "what the cache keeps keys and values in: f16 (default), f32, q8_0");
}

void add_jsonl(CLI::App* command, bool& jsonl) {
  command->add_flag("--jsonl", jsonl, "lines of JSON in, lines of JSON out: the only form there is")
      ->required();
}

struct AllOptions {
  InspectOptions inspect;
  TokensOptions tokens;
  bool jsonl = false;
  LogitsOptions logits;
  GenerateOptions generate;
  DraftOptions draft;
  PerplexityOptions perplexity;
  BenchOptions bench;
};

void add_looking(CLI::App& app, AllOptions& all, Command& chosen) {
  InspectOptions& i = all.inspect;
  CLI::App* command = add_command(app, chosen, "inspect", "shows what is in a file and what running it takes",
                                  i.file, [&] { return inspect(i); });
  add_compute(command, i.compute);
  command->add_option("--ctx", i.context, "positions to size the cache for")
      ->check(CLI::Range(1u, kMostTokens));
  command->add_flag("--json", i.json, "one JSON object");
  command->add_flag("--program", i.program, "shows the program, op by op, too");
  command->add_flag("--verify", i.verify,
                    "reads the model's copy in the folder of --packed-weights; fails if it is damaged");

  TokensOptions& t = all.tokens;
  command = add_command(app, chosen, "tokenize",
                        "{\"text\"|\"hex\":\"...\",\"special\":false,\"bos\":false} -> {\"ids\":[...]}",
                        t.file, [&] { return tokenize(t); });
  add_jsonl(command, all.jsonl);
  command = add_command(app, chosen, "render",
                        "{\"messages\":[...],\"tools\":[...],\"enable_thinking\":false,"
                        "\"add_generation_prompt\":true} -> {\"text\":\"...\",\"ids\":[...]}",
                        t.file, [&] { return render(t); });
  add_jsonl(command, all.jsonl);
  command = add_command(app, chosen, "detokenize",
                        "{\"ids\":[...],\"special\":true} -> {\"hex\":\"...\",\"text\":\"...\"}", t.file,
                        [&] { return detokenize(t); });
  add_jsonl(command, all.jsonl);
}

void add_computing(CLI::App& app, AllOptions& all, Command& chosen) {
  LogitsOptions& l = all.logits;
  CLI::App* command = add_command(app, chosen, "logits", "writes the logits of all positions", l.file,
                                  [&] { return logits(l); });
  add_compute(command, l.compute);
  command->add_option("--ids", l.ids, "a prompt; several run as one batch")
      ->required()
      ->take_all()
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--chunk", l.chunk, "tokens of a prompt per step; by default the whole prompt")
      ->check(CLI::Range(1u, kMostTokens));
  command->add_option("--out", l.out, "float32, little endian, rows x vocabulary")->required();

  GenerateOptions& g = all.generate;
  command = add_command(app, chosen, "generate", "prints greedy tokens after a prompt", g.file,
                        [&] { return generate(g); });
  add_compute(command, g.compute);
  command->add_option("--ids", g.ids, "the prompt")->required();
  command->add_option("-n", g.count, "new tokens")->required()->check(CLI::Range(1u, kMostTokens));

  DraftOptions& d = all.draft;
  command = add_command(app, chosen, "draft", "writes the logits of a drafter's guesses after a prompt",
                        d.target, [&] { return draft(d); });
  add_compute(command, d.compute);
  command->add_option("DRAFTER", d.drafter, "the drafter's GGUF file")->required();
  command->add_option("--ids", d.ids, "the prompt")->required();
  command->add_option("-n", d.count, "guesses")->required()->check(CLI::Range(1u, kMostTokens));
  command->add_option("--out", d.out, "float32, little endian, guesses x vocabulary")->required();

  PerplexityOptions& p = all.perplexity;
  command = add_command(app, chosen, "perplexity", "of a text, in chunks of the context's size", p.file,
                        [&] { return perplexity(p); });
  add_compute(command, p.compute);
  command->add_option("--text", p.text, "a file, UTF-8")->required();
  command->add_option("--ctx", p.context, "tokens per chunk (default 512)")
      ->check(CLI::Range(4u, kMostTokens));
}

void add_measuring(CLI::App& app, AllOptions& all, Command& chosen) {
  BenchOptions& b = all.bench;
  CLI::App* command = add_command(app, chosen, "bench", "measures tokens per second (medians)", b.file,
                                  [&] { return bench(b); });
  add_compute(command, b.compute);
  b.compute.pack = engine::PackingOptions::Make::kFirst;
  command->add_option("-p", b.prompt, "tokens of the prompt (default 512)")
      ->check(CLI::Range(0u, kMostTokens));
  command->add_option("-n", b.generate, "tokens to generate (default 128)")
      ->check(CLI::Range(0u, kMostTokens));
  command->add_option("-b", b.sequences, "sequences that generate at once (default 1)")
      ->check(CLI::Range(1u, kMostSequences));
  command->add_option("-d", b.depth, "tokens in the cache beforehand (default 0)")
      ->check(CLI::Range(0u, kMostTokens));
  command
      ->add_option("--depth-read", b.read,
                   "of these, those that are computed; the last page of them fills the rest (default: all)")
      ->check(CLI::Range(uint32_t{model::kPagePositions}, kMostTokens));
  command
      ->add_option("--rows", b.rows,
                   "of a step while the prompt and what is in the cache beforehand are read, at most "
                   "(default 512)")
      ->check(CLI::Range(1u, Evaluation::kMostRows));
  command->add_option("-r", b.repetitions, "repetitions (default 5)")->check(CLI::Range(1u, 1000u));
  command->add_flag("--json", b.json, "one JSON object");
}

int run(int argc, char** argv) {
  CLI::App app("Looks into, checks and measures a model without a daemon.", "facet-model");
  app.require_subcommand(1);
  AllOptions all;
  Command chosen;
  add_looking(app, all, chosen);
  add_computing(app, all, chosen);
  add_measuring(app, all, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  Result<void> done = chosen();
  if (done.ok()) return 0;
  std::fprintf(stderr, "facet-model: %s\n", done.error().message.c_str());
  return 1;
}

}  // namespace
}  // namespace facet::model_tool

int main(int argc, char** argv) {
  facet::log::start("facet-model", facet::log::Level::kWarning);
  try {
    return facet::model_tool::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "facet-model: %s\n", error.what());
    return 1;
  }
}
