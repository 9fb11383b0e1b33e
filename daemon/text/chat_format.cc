#include "daemon/text/chat_format.h"

#include <algorithm>
#include <string>

#include "daemon/text/chat_gemma.h"
#include "daemon/text/utf8.h"

namespace facet::text {
namespace {

// As every official template but those of E2B and E4B has it: what an answer without thoughts begins with.
constexpr std::string_view kEmptyThought = R"(<|channel>thought\n<channel|>)";

// What is looked for, by index of Mark.
std::array<std::string_view, kMarks> names_of(ChatFamily family) {
  std::array<std::string_view, kMarks> names;
  for (size_t i = 0; i < kMarks; ++i) names[i] = mark_name(family, static_cast<Mark>(i));
  return names;
}

// Whether a character is nothing but white space to Python.
bool is_space(std::string_view character) {
  if (character.size() == 1) {
    const char c = character[0];
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
  }
  constexpr std::string_view kOthers[] = {
      "\u0085", "\u00A0", "\u1680", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
      "\u2007", "\u2008", "\u2009", "\u200A", "\u2028", "\u2029", "\u202F", "\u205F", "\u3000"};
  return std::find(std::begin(kOthers), std::end(kOthers), character) != std::end(kOthers);
}

bool needed(Mark mark) {
  return mark == Mark::kBos || mark == Mark::kTurnOpen || mark == Mark::kTurnClose;
}

}  // namespace

std::optional<ChatFamily> chat_family(std::string_view architecture, std::string_view chat_template) {
  if (architecture == "gemma3") return ChatFamily::kGemma3;
  if (architecture != "gemma4") return std::nullopt;
  const bool small = !chat_template.empty() && chat_template.find(kEmptyThought) == chat_template.npos;
  return small ? ChatFamily::kGemma4Small : ChatFamily::kGemma4;
}

std::string_view trim(std::string_view text) {
  for (size_t length; (length = utf8_length(text)) != 0 && is_space(text.substr(0, length));) {
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (text[last] & 0xC0) == 0x80) --last;
    if (!is_space(text.substr(last))) break;
    text.remove_suffix(text.size() - last);
  }
  return text;
}

Result<MarkedText> render_chat(ChatFamily family, const Chat& chat) {
  FACET_CHECK(check_chat(chat));
  return family == ChatFamily::kGemma3 ? render_gemma3(chat) : render_gemma4(family, chat);
}

Result<ChatFormat> ChatFormat::make(ChatFamily family, const Vocabulary& vocabulary) {
  ChatFormat format(family);
  const auto names = names_of(family);
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    const Token token = static_cast<Token>(i);
    const std::string_view piece = vocabulary.piece(token);
    if (!piece.starts_with('<') || !is_literal(vocabulary.kind(token))) continue;
    const auto found = std::find(names.begin(), names.end(), piece);
    if (found == names.end()) continue;
    format.tokens_[static_cast<size_t>(found - names.begin())] = token;
    if (vocabulary.kind(token) == TokenKind::kUserDefined) format.literal_.push_back(token);
  }
  for (size_t i = 0; i < kMarks; ++i) {
    if (format.tokens_[i] == -1 && needed(static_cast<Mark>(i))) {
      return Error{FACET_UNSUPPORTED, "the vocabulary has no token \"" + std::string(names[i]) +
                                          "\": the model does not know the chat format"};
    }
  }
  return format;
}

Result<std::vector<Token>> ChatFormat::encode(const Tokenizer& tokenizer, const MarkedText& prompt) const {
  const std::string_view text = prompt.text();
  std::vector<Token> tokens;
  auto plain = [&](size_t begin, size_t end) -> Result<void> {
    if (begin == end) return {};
    FACET_TRY(std::vector<Token> part,
              tokenizer.encode(text.substr(begin, end - begin), {.plain = literal_}));
    tokens.insert(tokens.end(), part.begin(), part.end());
    return {};
  };
  size_t done = 0;
  for (const PlacedMark& placed : prompt.marks()) {
    FACET_CHECK(plain(done, placed.at));
    const Token token = tokens_[static_cast<size_t>(placed.mark)];
    const std::string_view name = mark_name(family_, placed.mark);
    if (token == -1) {
      return Error{FACET_UNSUPPORTED, "the vocabulary has no token \"" + std::string(name) + "\""};
    }
    tokens.push_back(token);
    done = placed.at + name.size();
  }
  FACET_CHECK(plain(done, text.size()));
  return tokens;
}

std::optional<Mark> ChatFormat::mark(Token token) const {
  const auto found = std::find(tokens_.begin(), tokens_.end(), token);
  if (token < 0 || found == tokens_.end()) return std::nullopt;
  return static_cast<Mark>(found - tokens_.begin());
}

}  // namespace facet::text
