#include <nlohmann/json.hpp>

#include "daemon/model/gguf.h"
#include "daemon/model/vocabulary_gguf.h"
#include "daemon/model_tool/commands.h"
#include "daemon/model_tool/json_lines.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/utf8.h"

namespace facet::model_tool {
namespace {

using nlohmann::json;

constexpr size_t kMaxIds = 1 << 20;

std::string to_hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

Result<std::string> from_hex(std::string_view hex) {
  auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  if (hex.size() % 2 != 0) return Error{FACET_MALFORMED, "\"hex\" has an odd number of digits"};
  std::string bytes;
  bytes.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int high = digit(hex[i]), low = digit(hex[i + 1]);
    if (high < 0 || low < 0) {
      return Error{FACET_MALFORMED, "\"hex\" has something else than a digit at " + std::to_string(i)};
    }
    bytes.push_back(static_cast<char>(high * 16 + low));
  }
  return bytes;
}

Result<bool> flag(const json& line, const char* name, bool missing) {
  const auto found = line.find(name);
  if (found == line.end()) return missing;
  if (!found->is_boolean()) return Error{FACET_MALFORMED, "\"" + std::string(name) + "\" is no boolean"};
  return found->get<bool>();
}

// "hex" counts if there are both.
Result<std::string> text_of(const json& line) {
  for (const char* name : {"hex", "text"}) {
    const auto found = line.find(name);
    if (found == line.end()) continue;
    if (!found->is_string()) return Error{FACET_MALFORMED, "\"" + std::string(name) + "\" is no string"};
    const std::string& value = found->get_ref<const std::string&>();
    if (name[0] == 'h') return from_hex(value);
    return value;
  }
  return Error{FACET_MALFORMED, "the line has neither \"text\" nor \"hex\""};
}

Result<Ids> ids_of(const json& line) {
  const auto found = line.find("ids");
  if (found == line.end() || !found->is_array())
    return Error{FACET_MALFORMED, "the line has no array \"ids\""};
  if (found->size() > kMaxIds) {
    return Error{FACET_TOO_LARGE, "\"ids\" has more than " + std::to_string(kMaxIds) + " ids"};
  }
  Ids ids;
  for (const json& id : *found) {
    const bool fits = id.is_number_unsigned() && id.get<uint64_t>() < text::kMaxVocabulary;
    if (!fits) return Error{FACET_INVALID_ARGUMENT, id.dump().substr(0, 32) + " in \"ids\" is no token"};
    ids.push_back(static_cast<text::Token>(id.get<uint64_t>()));
  }
  return ids;
}

Result<json> encode(const text::Tokenizer& tokenizer, const json& line) {
  text::EncodeOptions options;
  FACET_TRY(std::string text, text_of(line));
  FACET_TRY(options.special, flag(line, "special", false));
  FACET_TRY(options.bos, flag(line, "bos", false));
  FACET_TRY(Ids ids, tokenizer.encode(text, options));
  return json{{"ids", ids}};
}

Result<json> decode(const text::Tokenizer& tokenizer, const json& line) {
  FACET_TRY(Ids ids, ids_of(line));
  FACET_TRY(bool special, flag(line, "special", true));
  FACET_TRY(std::string bytes, tokenizer.decode(ids, special));
  json answer{{"hex", to_hex(bytes)}, {"text", nullptr}};
  if (text::is_utf8(bytes)) answer["text"] = std::move(bytes);
  return answer;
}

Result<void> with_tokenizer(const std::string& path,
                            Result<json> (*answer)(const text::Tokenizer& tokenizer, const json& line)) {
  FACET_TRY(model::GgufFile file, model::GgufFile::open(path));
  FACET_TRY(text::Vocabulary vocabulary, model::read_vocabulary(file));
  auto tokenizer = text::Tokenizer::make(std::move(vocabulary));
  if (!tokenizer.ok()) return file.error(tokenizer.error().code, tokenizer.error().message);
  return answer_objects([&](const json& line) { return answer(*tokenizer, line); });
}

}  // namespace

Result<void> tokenize(const TokensOptions& options) {
  return with_tokenizer(options.file, encode);
}

Result<void> detokenize(const TokensOptions& options) {
  return with_tokenizer(options.file, decode);
}

}  // namespace facet::model_tool
