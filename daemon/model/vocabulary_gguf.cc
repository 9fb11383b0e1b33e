#include "daemon/model/vocabulary_gguf.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

namespace facet::model {
namespace {

using text::Algorithm;
using text::Token;
using text::TokenKind;
using text::VocabularyParts;

// The names by which Gemma's vocabularies close an answer, next to the ids that a file declares.
constexpr std::string_view kSpmEnds[] = {"<eos>", "</s>", "<end_of_turn>"};
constexpr std::string_view kBpeEnds[] = {"<eos>", "<turn|>", "<|tool_response>"};

std::span<const std::string_view> end_names(Algorithm algorithm) {
  return algorithm == Algorithm::kSpm ? std::span<const std::string_view>(kSpmEnds) : kBpeEnds;
}

Result<Algorithm> read_algorithm(const GgufFile& file) {
  FACET_TRY(std::string_view name, file.string("tokenizer.ggml.model"));
  if (name == "llama") return Algorithm::kSpm;
  if (name == "gemma4") return Algorithm::kBpe;
  return file.error(FACET_UNSUPPORTED, "tokenizer " + quoted(name) + " is not supported");
}

Result<std::optional<Token>> find_token(const GgufFile& file, const char* name) {
  std::string key = std::string("tokenizer.ggml.") + name + "_token_id";
  FACET_TRY(auto id, file.find_u32(key));
  if (!id) return std::optional<Token>();
  if (!std::in_range<Token>(*id)) return file.error(FACET_MALFORMED, "key " + quoted(key) + " is no token");
  return std::optional(static_cast<Token>(*id));
}

Error has_too_many(const GgufFile& file, size_t count, const char* of) {
  return file.error(FACET_MALFORMED, "the vocabulary has " + std::to_string(count) + " " + of);
}

Result<void> read_tokens(const GgufFile& file, VocabularyParts& parts) {
  FACET_TRY(GgufStrings pieces, file.strings("tokenizer.ggml.tokens"));
  FACET_TRY(GgufIntegers kinds, file.integers("tokenizer.ggml.token_type"));
  // Nothing takes memory for more; whether all have one length is for the vocabulary to say.
  for (const size_t size : {pieces.size(), kinds.size()}) {
    if (size > text::kMaxVocabulary) return has_too_many(file, size, "tokens");
  }
  parts.pieces.reserve(pieces.size());
  for (std::string_view piece : pieces) parts.pieces.push_back(piece);
  parts.kinds.resize(kinds.size());
  for (size_t i = 0; i < kinds.size(); ++i) {
    // 0 is no kind: the vocabulary refuses it.
    parts.kinds[i] = std::in_range<uint8_t>(kinds[i]) ? static_cast<TokenKind>(kinds[i]) : TokenKind{0};
  }
  return {};
}

Result<void> read_merging(const GgufFile& file, VocabularyParts& parts) {
  if (parts.algorithm == Algorithm::kBpe) {
    FACET_TRY(GgufStrings merges, file.strings("tokenizer.ggml.merges"));
    if (merges.size() > text::kMaxMerges) return has_too_many(file, merges.size(), "merges");
    parts.merges.reserve(merges.size());
    for (std::string_view merge : merges) parts.merges.push_back(merge);
    if (!file.entry("tokenizer.ggml.scores")) {
      parts.scores.resize(parts.pieces.size());
      return {};
    }
  }
  FACET_TRY(GgufFloats scores, file.floats("tokenizer.ggml.scores"));
  if (scores.size() > text::kMaxVocabulary) return has_too_many(file, scores.size(), "scores");
  parts.scores.resize(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) parts.scores[i] = scores[i];
  return {};
}

Result<void> read_suppressed(const GgufFile& file, VocabularyParts& parts) {
  constexpr std::string_view kKey = "tokenizer.ggml.suppress_tokens";
  FACET_TRY(auto ids, file.find_integers(kKey));
  if (!ids) return {};
  const size_t size = parts.pieces.size();
  auto wrong = [&](const std::string& has) {
    return file.error(FACET_MALFORMED, "key " + quoted(kKey) + " has " + has + ", the vocabulary " +
                                           std::to_string(size) + " tokens");
  };
  if (ids->size() > size) return wrong(std::to_string(ids->size()) + " elements");
  for (size_t i = 0; i < ids->size(); ++i) {
    const int64_t id = (*ids)[i];
    if (id < 0 || static_cast<uint64_t>(id) >= size) return wrong("the token " + std::to_string(id));
    parts.suppressed.push_back(static_cast<Token>(id));
  }
  return {};
}

Result<void> read_special_ids(const GgufFile& file, VocabularyParts& parts) {
  FACET_TRY(parts.bos, find_token(file, "bos"));
  FACET_TRY(parts.eos, find_token(file, "eos"));
  FACET_TRY(parts.unknown, find_token(file, "unknown"));
  for (const char* name : {"eot", "eom"}) {
    FACET_TRY(auto end, find_token(file, name));
    if (end) parts.end_of_generation.push_back(*end);
  }
  FACET_CHECK(read_suppressed(file, parts));
  FACET_TRY(auto add_bos, file.find_boolean("tokenizer.ggml.add_bos_token"));
  FACET_TRY(auto add_space_prefix, file.find_boolean("tokenizer.ggml.add_space_prefix"));
  parts.add_bos = parts.algorithm == Algorithm::kBpe || add_bos.value_or(true);
  parts.add_space_prefix = add_space_prefix.value_or(parts.algorithm == Algorithm::kSpm);
  return {};
}

void find_ends_by_name(VocabularyParts& parts) {
  auto names = end_names(parts.algorithm);
  for (size_t i = 0; i < parts.pieces.size(); ++i) {
    std::string_view piece = parts.pieces[i];
    if (!piece.starts_with('<') || std::find(names.begin(), names.end(), piece) == names.end()) {
      continue;
    }
    parts.end_of_generation.push_back(static_cast<Token>(i));
    if (i < parts.kinds.size()) parts.kinds[i] = TokenKind::kControl;
  }
}

}  // namespace

Result<text::Vocabulary> read_vocabulary(const GgufFile& file) {
  VocabularyParts parts;
  FACET_TRY(parts.algorithm, read_algorithm(file));
  FACET_CHECK(read_tokens(file, parts));
  FACET_CHECK(read_merging(file, parts));
  FACET_CHECK(read_special_ids(file, parts));
  find_ends_by_name(parts);
  auto vocabulary = text::Vocabulary::make(std::move(parts));
  if (!vocabulary.ok()) return file.error(vocabulary.error().code, vocabulary.error().message);
  return vocabulary;
}

}  // namespace facet::model
