// The commands of facet-model, each in a file of its name. A command writes its result to standard output (or
// the file it was given); its Error is the one line that the caller prints on standard error.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "daemon/base/result.h"
#include "daemon/model_tool/evaluation.h"

namespace facet::model_tool {

using Ids = std::vector<text::Token>;

// "2,651,9". invalid_argument, naming the part, for anything else.
Result<Ids> parse_ids(const std::string& text);

struct InspectOptions {
  std::string file;
  ComputeOptions compute;
  uint32_t context = 0;  // 0: the model's own, or 8192 if that is less
  bool json = false;
  bool program = false;
  bool verify = false;
};
// What is in the file, and what running it takes. A file without tensors shows its vocabulary. With `verify`
// the model's packed copy is read and compared with its hash: an Error names one that is missing or damaged.
Result<void> inspect(const InspectOptions& options);

struct TokensOptions {
  std::string file;
};
// Lines of JSON from standard input, answered line by line. A line that is wrong is answered by
// {"error":"..."} and changes nothing for the next.
Result<void> tokenize(const TokensOptions& options);
Result<void> detokenize(const TokensOptions& options);

// The same for chats: what the model's chat format makes of them.
Result<void> render(const TokensOptions& options);

struct LogitsOptions {
  std::string file;
  ComputeOptions compute;
  std::vector<std::string> ids;
  uint32_t chunk = 0;  // 0: the longest of `ids`
  std::string out;
};
// Writes float32 [positions, vocabulary], little endian, of each of `ids`, one after the other.
Result<void> logits(const LogitsOptions& options);

struct GenerateOptions {
  std::string file;
  ComputeOptions compute;
  std::string ids;
  uint32_t count = 0;
};
Result<void> generate(const GenerateOptions& options);

struct DraftOptions {
  std::string target, drafter;
  ComputeOptions compute;
  std::string ids;
  uint32_t count = 0;
  std::string out;
};
// Writes the logits of `count` drafts after the target's greedy token, each fed the one before: float32
// [count, vocabulary], little endian.
Result<void> draft(const DraftOptions& options);

struct PerplexityOptions {
  std::string file;
  ComputeOptions compute;
  std::string text;  // a file
  uint32_t context = 512;
};
Result<void> perplexity(const PerplexityOptions& options);

struct BenchOptions {
  std::string file;
  ComputeOptions compute;
  uint32_t prompt = 512;    // tokens; 0: leaves this part out
  uint32_t generate = 128;  // tokens of each sequence; 0: leaves this part out
  uint32_t sequences = 1;   // that generate at once
  uint32_t depth = 0;       // tokens in the cache before either part
  uint32_t read = 0;        // of these, at least kPagePositions; the rest of the cache repeats a page. 0: all
  uint32_t rows = kPromptRows;  // of a step while tokens are read, at most
  uint32_t repetitions = 5;
  bool json = false;
};
Result<void> bench(const BenchOptions& options);

}  // namespace facet::model_tool
