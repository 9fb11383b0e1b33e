// A vocabulary, with or without merges, and a text from any bytes: wrong merges are refused, the text comes
// back as it was, and control tokens stay out unless asked for.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "daemon/text/tokenizer.h"

namespace {

using facet::text::Token;
using facet::text::TokenKind;

void require(bool truth) {
  if (!truth) std::abort();
}

std::string byte_name(unsigned byte) {
  constexpr char kHex[] = "0123456789ABCDEF";
  return {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
}

// Two of the pieces, or any text.
std::string merge_of(FuzzedDataProvider& input, const std::vector<std::string>& pieces) {
  if (input.ConsumeIntegralInRange(0, 15) == 0) return input.ConsumeRandomLengthString(8);
  auto pick = [&] { return pieces[input.ConsumeIntegralInRange<size_t>(0, pieces.size() - 1)]; };
  std::string left = pick();
  return left + ' ' + pick();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider input(data, size);
  std::vector<std::string> pieces = {"<unk>"};
  facet::text::VocabularyParts parts;
  parts.kinds = {TokenKind::kUnknown};
  parts.scores = {0};
  for (unsigned byte = 0; byte < 256; ++byte) {
    pieces.push_back(byte_name(byte));
    parts.kinds.push_back(TokenKind::kByte);
    parts.scores.push_back(0);
  }
  constexpr TokenKind kKinds[] = {TokenKind::kNormal,      TokenKind::kNormal,  TokenKind::kNormal,
                                  TokenKind::kUserDefined, TokenKind::kControl, TokenKind::kUnused};
  for (size_t i = input.ConsumeIntegralInRange<size_t>(0, 40); i > 0; --i) {
    pieces.push_back(input.ConsumeRandomLengthString(8));
    parts.kinds.push_back(input.PickValueInArray(kKinds));
    parts.scores.push_back(input.ConsumeIntegral<int8_t>());
  }
  std::vector<std::string> merges;
  if (input.ConsumeBool()) {
    parts.algorithm = facet::text::Algorithm::kBpe;
    for (size_t i = input.ConsumeIntegralInRange<size_t>(1, 40); i > 0; --i) {
      merges.push_back(merge_of(input, pieces));
      if (!input.ConsumeBool()) continue;
      // What it makes is a token.
      std::string both = merges.back();
      std::erase(both, ' ');
      pieces.push_back(both);
      parts.kinds.push_back(TokenKind::kNormal);
      parts.scores.push_back(0);
    }
  }
  parts.merges.assign(merges.begin(), merges.end());
  parts.pieces.assign(pieces.begin(), pieces.end());
  parts.unknown = 0;
  parts.add_space_prefix = input.ConsumeBool();
  auto vocabulary = facet::text::Vocabulary::make(std::move(parts));
  require(vocabulary.ok());
  auto tokenizer = facet::text::Tokenizer::make(std::move(*vocabulary));
  if (!tokenizer.ok()) {
    require(!merges.empty() && tokenizer.error().message.find("merge") != std::string::npos);
    return 0;
  }

  std::string text = input.ConsumeRemainingBytesAsString();
  for (bool special : {false, true}) {
    auto tokens = tokenizer->encode(text, {.special = special});
    require(tokens.ok());
    for (Token token : *tokens) {
      require(tokenizer->vocabulary().contains(token));
      require(special || tokenizer->vocabulary().kind(token) != TokenKind::kControl);
    }
    auto back = tokenizer->decode(*tokens, special);
    require(back.ok() && *back == text);
  }
  return 0;
}
