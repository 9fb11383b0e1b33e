#include "daemon/text/tokenizer.h"

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <unordered_map>

#include "daemon/model/gguf.h"
#include "daemon/model/vocabulary_gguf.h"
#include "daemon/text/utf8.h"
#include "tests/test_models.h"

namespace model = facet::model;
namespace test = facet::test;
namespace text = facet::text;
using nlohmann::json;
using text::EncodeOptions;
using text::Token;
using text::Tokenizer;
using text::TokenKind;
using text::Vocabulary;

namespace {

using Tokens = std::vector<Token>;

// A tokenizer and the file that its pieces lie in.
struct Loaded {
  model::GgufFile file;
  Tokenizer tokenizer;
};

Loaded load(const std::string& path) {
  auto file = model::GgufFile::open(path);
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  auto tokenizer = Tokenizer::make(std::move(*vocabulary));
  REQUIRE(tokenizer.ok());
  return {std::move(*file), std::move(*tokenizer)};
}

const Tokenizer& real() {
  static const Loaded loaded = load(test::real_gemma3_path());
  return loaded.tokenizer;
}

const Tokenizer& gemma4() {
  static const Loaded loaded = load(test::gemma4_vocabulary_path());
  return loaded.tokenizer;
}

// "<0x00>" to "<0xFF>"; they outlive every vocabulary.
const std::vector<std::string>& byte_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (unsigned byte = 0; byte < 256; ++byte) {
      char name[8];
      std::snprintf(name, sizeof name, "<0x%02X>", byte & 0xFF);
      all.emplace_back(name);
    }
    return all;
  }();
  return names;
}

// A small vocabulary in the shape of Gemma's: control tokens, user-defined runs, bytes, and `pieces` with
// falling scores.
struct Small {
  text::VocabularyParts parts;

  void add(std::string_view piece, TokenKind kind, float score) {
    parts.pieces.push_back(piece);
    parts.kinds.push_back(kind);
    parts.scores.push_back(score);
  }

  explicit Small(const std::vector<std::string_view>& pieces) {
    add("<unk>", TokenKind::kUnknown, 0);
    add("<bos>", TokenKind::kControl, 0);
    add("<end>", TokenKind::kControl, 0);
    add("\n", TokenKind::kUserDefined, 0);
    add("\n\n", TokenKind::kUserDefined, 0);
    add("  ", TokenKind::kUserDefined, 0);
    for (const std::string& name : byte_names()) add(name, TokenKind::kByte, 0);
    float score = 0;
    for (std::string_view piece : pieces) add(piece, TokenKind::kNormal, --score);
    parts.bos = 1;
    parts.unknown = 0;
    parts.end_of_generation = {2};
  }

  Tokenizer tokenizer() const {
    auto vocabulary = Vocabulary::make(parts);
    REQUIRE(vocabulary.ok());
    auto tokenizer = Tokenizer::make(std::move(*vocabulary));
    REQUIRE(tokenizer.ok());
    return std::move(*tokenizer);
  }
};

Tokens encode(const Tokenizer& tokenizer, std::string_view text, EncodeOptions options = {}) {
  auto tokens = tokenizer.encode(text, options);
  REQUIRE(tokens.ok());
  return *tokens;
}

std::string decode(const Tokenizer& tokenizer, const Tokens& tokens, bool special = false) {
  auto text = tokenizer.decode(tokens, special);
  REQUIRE(text.ok());
  return *text;
}

// The pieces of the tokens, for small vocabularies: "a|▁b|<0xE2>".
std::string shown(const Tokenizer& tokenizer, std::string_view text, EncodeOptions options = {}) {
  std::string out;
  for (Token token : encode(tokenizer, text, options)) {
    if (!out.empty()) out += '|';
    out += tokenizer.vocabulary().piece(token);
  }
  return out;
}

std::string from_hex(const std::string& hex) {
  std::string out;
  for (size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return out;
}

// Checks every line of a golden file. Not to be met are texts with a literal "▁" and texts that are not
// UTF-8: their tokens are open to dispute, but they come back as they were, like all others.
void check_golden(const std::string& name, const std::string& family, const Tokenizer& tokenizer) {
  std::ifstream lines(test::golden_path(name));
  int checked = 0, seen = 0;
  for (std::string line; std::getline(lines, line);) {
    json golden = json::parse(line);
    if (!golden.contains(family)) continue;
    ++seen;
    std::string text = from_hex(golden["hex"]);
    CAPTURE(golden["id"].get<int>());
    Tokens plain = encode(tokenizer, text), special = encode(tokenizer, text, {.special = true});
    CHECK(decode(tokenizer, plain) == text);
    CHECK(decode(tokenizer, special, true) == text);
    if (!text::is_utf8(text) || text.find(text::kSpaceMark) != std::string::npos) continue;
    ++checked;
    CHECK(plain == golden[family]["ids"].get<Tokens>());
    CHECK(special == golden[family]["ids_special"].get<Tokens>());
  }
  CHECK(seen == 160);
  CHECK(checked == 141);
}

// Gemma 4's merges as its file lists them ("left right"), and their place in the list.
std::unordered_map<std::string, double> listed_merges() {
  auto file = model::GgufFile::open(test::gemma4_vocabulary_path());
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  std::unordered_map<std::string, double> ranks;
  for (std::string_view merge : vocabulary->merges()) ranks.try_emplace(std::string(merge), ranks.size());
  return ranks;
}

// The merging as its definition reads: look at all neighbours, merge the best pair, start again. `find` gives
// the rank of two neighbours that become one.
template <typename Find>
Tokens merged_slowly(const std::map<std::string, Token>& pieces, const Find& find, std::string_view text) {
  std::vector<std::string> symbols;
  while (!text.empty()) {
    size_t length = text::utf8_length(text);
    symbols.emplace_back(text.front() == ' ' ? text::kSpaceMark : text.substr(0, length));
    text.remove_prefix(length);
  }
  for (;;) {
    size_t best = symbols.size();
    double best_rank = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      std::optional<double> rank = find(symbols[i], symbols[i + 1]);
      if (!rank) continue;
      if (best == symbols.size() || *rank < best_rank) best = i, best_rank = *rank;
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  Tokens out;
  for (const std::string& symbol : symbols) {
    if (auto piece = pieces.find(symbol); piece != pieces.end()) {
      out.push_back(piece->second);
      continue;
    }
    for (unsigned char byte : symbol) out.push_back(238 + byte);
  }
  return out;
}

std::map<std::string, Token> normal_pieces(const Vocabulary& vocabulary) {
  std::map<std::string, Token> pieces;
  for (Token token = 0; vocabulary.contains(token); ++token) {
    if (vocabulary.kind(token) == TokenKind::kNormal) pieces.emplace(vocabulary.piece(token), token);
  }
  return pieces;
}

// Texts of the given number of parts, in whose neighbourhoods words end and do not end. The one piece of
// these vocabularies that reaches over a space is among them.
std::vector<std::string> texts_of_parts(int count, size_t parts_each) {
  const std::vector<std::string> parts = {"the",    " ",   " ",      "> </",   "<b>", "e",     "ing",
                                          "Wasser", " of", "\u00e9", "\u6f22", ">",   "</",    "\U0001F999",
                                          "ab",     "aaa", ".",      "1",      "x ",  "\u7684"};
  std::mt19937 random(7);
  std::vector<std::string> texts;
  for (int i = 0; i < count; ++i) {
    std::string& text = texts.emplace_back();
    for (size_t part = 0; part < parts_each; ++part) text += parts[random() % parts.size()];
  }
  return texts;
}

}  // namespace

TEST_CASE("the real vocabularies give the tokens of the golden file") {
  check_golden("tokenizer.jsonl", "gemma3", real());
  check_golden("tokenizer.jsonl", "gemma4", gemma4());
}

TEST_CASE("the tiny vocabularies give the tokens, ends and BOS of the golden file") {
  std::ifstream lines(test::golden_path("tokenizer_tiny.jsonl"));
  std::string first;
  std::getline(lines, first);
  for (const auto& [of, name] : {std::pair{"gemma3", "gemma3"}, std::pair{"gemma4", "e2b"}}) {
    const char* family = of;  // clang 14 lets no lambda, as CAPTURE is one, see a binding
    CAPTURE(family);
    Loaded tiny = load(test::tiny_model_path(name));
    check_golden("tokenizer_tiny.jsonl", family, tiny.tokenizer);
    json golden = json::parse(first)["models"][family]["vocab"];
    const Vocabulary& vocabulary = tiny.tokenizer.vocabulary();
    CHECK(vocabulary.bos() == golden["bos"].get<Token>());
    CHECK(vocabulary.eos() == golden["eos"].get<Token>());
    CHECK(vocabulary.add_bos());
    auto ends = vocabulary.end_of_generation();
    CHECK(Tokens(ends.begin(), ends.end()) == golden["eog"].get<Tokens>());
  }
}

TEST_CASE("every piece of the real vocabularies comes back from its own text") {
  for (const Tokenizer* tokenizer : {&real(), &gemma4()}) {
    int differing = 0;
    for (Token token = 0; tokenizer->vocabulary().contains(token); ++token) {
      std::string text;
      tokenizer->append_bytes(token, true, text);
      if (decode(*tokenizer, encode(*tokenizer, text, {.special = true}), true) != text) ++differing;
    }
    CHECK(differing == 0);
  }
}

TEST_CASE("words merged alone give what the definition gives on the whole text") {
  const Vocabulary& vocabulary = real().vocabulary();
  auto pieces = normal_pieces(vocabulary);
  auto find = [&](const std::string& left, const std::string& right) -> std::optional<double> {
    auto piece = pieces.find(left + right);
    if (piece == pieces.end()) return std::nullopt;
    return -vocabulary.score(piece->second);
  };
  for (const std::string& text : texts_of_parts(300, 12)) {
    // Runs of spaces and tags are tokens of their own, cut out before the merging.
    if (text.find("  ") != text.npos || text.find("<b>") != text.npos) continue;
    CAPTURE(text);
    CHECK(encode(real(), text) == merged_slowly(pieces, find, text));
  }
  CHECK(encode(real(), "> </") == Tokens{107068});
}

TEST_CASE("listed merges give what the definition gives on the whole text") {
  auto pieces = normal_pieces(gemma4().vocabulary());
  const auto ranks = listed_merges();
  auto find = [&](const std::string& left, const std::string& right) -> std::optional<double> {
    auto merge = ranks.find(left + ' ' + right);
    if (merge == ranks.end()) return std::nullopt;
    return merge->second;
  };
  for (const std::string& text : texts_of_parts(300, 12)) {
    CAPTURE(text);
    CHECK(encode(gemma4(), text) == merged_slowly(pieces, find, text));
  }
  // Words long enough for a heap, which is the other way to merge.
  std::mt19937 random(8);
  for (int round = 0; round < 100; ++round) {
    std::string text;
    for (int i = 0; i < 80; ++i) text += "abcdehilnorst\n"[random() % (round % 2 == 0 ? 13 : 14)];
    CAPTURE(text);
    CHECK(encode(gemma4(), text) == merged_slowly(pieces, find, text));
  }
}

TEST_CASE("any bytes come back as they were") {
  std::mt19937 random(11);
  const std::vector<std::string> parts = {
      "\xE2", "\x96",  "\x81", "\u2581", " ",      "  ",       "\n",  "a",   "\xF0\x9F", "\x80",    "\xC0",
      "\xFF", "<eos>", "\t",   "</s>",   "\u00e9", "\xED\xA0", "<0x", "0A>", "word",     "<end_of", "_turn>"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (unsigned i = random() % 20; i > 0; --i) text += parts[random() % parts.size()];
    CAPTURE(text);
    for (const Tokenizer* tokenizer : {&real(), &gemma4()}) {
      CHECK(decode(*tokenizer, encode(*tokenizer, text)) == text);
      CHECK(decode(*tokenizer, encode(*tokenizer, text, {.special = true}), true) == text);
    }
  }
}

TEST_CASE("the valid text around bytes that are not UTF-8 keeps its tokens") {
  for (const char* wrong :
       {"\xFF", "\xC3", "\xE2\x96", "\xF0\x9F\x98", "\xC0\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80"}) {
    Tokens tokens = encode(real(), std::string("hello ") + wrong + " world");
    Tokens before = encode(real(), "hello "), after = encode(real(), " world");
    REQUIRE(tokens.size() == before.size() + std::strlen(wrong) + after.size());
    CHECK(std::equal(before.begin(), before.end(), tokens.begin()));
    CHECK(std::equal(after.rbegin(), after.rend(), tokens.rbegin()));
    for (size_t i = 0; i < std::strlen(wrong); ++i) {
      CHECK(tokens[before.size() + i] == 238 + static_cast<unsigned char>(wrong[i]));
    }
  }
}

TEST_CASE("control tokens are plain text unless they are asked for") {
  const std::string text = "a<end_of_turn>b<bos><unk><pad></s>";
  std::set<Token> control = {0, 1, 2, 3, 106, 212};
  for (Token token : encode(real(), text)) CHECK(control.count(token) == 0);
  Tokens special = encode(real(), text, {.special = true});
  CHECK(special == Tokens{236746, 106, 236763, 2, 3, 0, 212});
  CHECK(decode(real(), special) == "ab");
  CHECK(decode(real(), special, true) == text);
}

TEST_CASE("Gemma 4's control tokens are plain text unless they are asked for") {
  const std::string text = "a<turn|>b<|turn><bos><|tool_response><|channel>";
  std::set<Token> control = {0, 1, 2, 3, 50, 105, 106};
  for (Token token : encode(gemma4(), text)) CHECK(control.count(token) == 0);
  Tokens special = encode(gemma4(), text, {.special = true});
  CHECK(special == Tokens{236746, 106, 236763, 105, 2, 50, 100});
  CHECK(decode(gemma4(), special) == "ab<|channel>");
  CHECK(decode(gemma4(), special, true) == text);
  // What is user-defined is one token in any text.
  CHECK(encode(gemma4(), "<|channel>") == Tokens{100});
}

TEST_CASE("BOS stands in front only where it is asked for") {
  CHECK(encode(real(), "", {.bos = true}) == Tokens{2});
  CHECK(encode(real(), "a", {.bos = true}) == Tokens{2, 236746});
  CHECK(encode(real(), "a") == Tokens{236746});
  Small small({"a"});
  small.parts.bos.reset();
  CHECK(shown(small.tokenizer(), "a", {.bos = true}) == "a");
}

TEST_CASE("the best score merges first, the leftmost among equals") {
  CHECK(shown(Small({"ab", "bc", "a", "b", "c"}).tokenizer(), "abc") == "ab|c");
  CHECK(shown(Small({"bc", "ab", "a", "b", "c"}).tokenizer(), "abc") == "a|bc");
  CHECK(shown(Small({"aa", "a"}).tokenizer(), "aaaaa") == "aa|aa|a");
  // A longer piece is reached only through pairs that are pieces themselves.
  CHECK(shown(Small({"abc", "a", "b", "c"}).tokenizer(), "abc") == "a|b|c");
  CHECK(shown(Small({"abc", "ab", "a", "b", "c"}).tokenizer(), "abcabc") == "abc|abc");
}

TEST_CASE("spaces are marks, and a piece may reach over them") {
  CHECK(shown(Small({"\u2581b", "a", "b", "\u2581"}).tokenizer(), "a b") == "a|\u2581b");
  CHECK(shown(Small({"a\u2581", "a", "b", "\u2581"}).tokenizer(), "a b") == "a\u2581|b");
  CHECK(shown(Small({"a\u2581b", "a\u2581", "a", "b", "\u2581"}).tokenizer(), "a ba b") ==
        "a\u2581b|a\u2581b");
  // Without a piece for the mark a space is the byte of a space, not those of the mark.
  CHECK(shown(Small({"a"}).tokenizer(), "a a") == "a|<0x20>|a");
  CHECK(shown(Small({"a"}).tokenizer(), "a\u2581") == "a|<0xE2>|<0x96>|<0x81>");
}

TEST_CASE("the longest literal piece is taken, from left to right") {
  Tokenizer tokenizer = Small({"a", "\u2581"}).tokenizer();
  CHECK(shown(tokenizer, "\n\n\na") == "\n\n|\n|a");
  CHECK(shown(tokenizer, "a   a") == "a|  |\u2581|a");
  CHECK(shown(tokenizer, "<end><bos", {.special = true}) == "<end>|<0x3C>|<0x62>|<0x6F>|<0x73>");
}

TEST_CASE("only normal pieces come out of the merging") {
  Small small({"<e", "<en", "<end", "<", "e", "n", "d", ">"});
  small.add("x", TokenKind::kUnused, 5);
  // "<end" and ">" would make the control token.
  CHECK(shown(small.tokenizer(), "<end>") == "<end|>");
  CHECK(shown(small.tokenizer(), "x") == "<0x78>");
}

TEST_CASE("of two tokens with one piece the first is used") {
  Small small({"a"});
  small.add("a", TokenKind::kNormal, 9);
  CHECK(encode(small.tokenizer(), "a") == Tokens{262});
}

TEST_CASE("a piece that is not UTF-8 is never made, so a mark in the text stays a mark") {
  Small small({"\u2581", "\xE2\x96", "\xE2", "\x96", "\x81"});
  CHECK(decode(small.tokenizer(), encode(small.tokenizer(), "\u2581 ")) == "\u2581 ");
}

TEST_CASE("a vocabulary without byte tokens falls back to unknown") {
  text::VocabularyParts parts;
  parts.pieces = {"<unk>", "a"};
  parts.scores = {0, 0};
  parts.kinds = {TokenKind::kUnknown, TokenKind::kNormal};
  parts.unknown = 0;
  auto vocabulary = Vocabulary::make(std::move(parts));
  REQUIRE(vocabulary.ok());
  auto tokenizer = Tokenizer::make(std::move(*vocabulary));
  REQUIRE(tokenizer.ok());
  CHECK(encode(*tokenizer, "aba") == Tokens{1, 0, 1});
}

TEST_CASE("a space prefix is put in front and taken away again") {
  Small small({"\u2581a", "a", "\u2581"});
  small.parts.add_space_prefix = true;
  Tokenizer tokenizer = small.tokenizer();
  CHECK(shown(tokenizer, "a") == "\u2581a");
  CHECK(shown(tokenizer, "a", {.bos = true}) == "<bos>|\u2581a");
  CHECK(shown(tokenizer, "\na") == "\n|a");
  CHECK(shown(tokenizer, "") == "");
  for (std::string text : {"a", " a", "a a", "\na", "\n", "", " ", "  a", "\xFF"}) {
    CAPTURE(text);
    CHECK(decode(tokenizer, encode(tokenizer, text, {.bos = true})) == text);
  }
}

TEST_CASE("what is too long or no token is refused") {
  auto long_text = real().encode(std::string(Tokenizer::kMaxTextBytes + 1, 'a'));
  REQUIRE(!long_text.ok());
  CHECK(long_text.error().code == FACET_TOO_LARGE);
  for (Token token : {-1, 262144, INT32_MIN, INT32_MAX}) {
    auto text = real().decode(Tokens{5, token});
    REQUIRE(!text.ok());
    CHECK(text.error().code == FACET_INVALID_ARGUMENT);
    CHECK(text.error().message.starts_with(std::to_string(token)));
  }
}

TEST_CASE("a text of one word, of literals or of half literals takes no more than its size asks for") {
  for (const char* part : {"a", "ab", "\n", " ", "<", "<unused", "\xFF", "a "}) {
    std::string text;
    while (text.size() < (1 << 20)) text += part;
    CHECK(decode(real(), encode(real(), text)) == text);
    CHECK(decode(gemma4(), encode(gemma4(), text)) == text);
  }
}

TEST_CASE("no text has fewer tokens than its length says") {
  for (const Tokenizer* tokenizer : {&real(), &gemma4()}) {
    const Vocabulary& vocabulary = tokenizer->vocabulary();
    size_t longest = 0;
    for (Token token = 0; vocabulary.contains(token); ++token) {
      std::string text;
      tokenizer->append_bytes(token, true, text);
      longest = std::max(longest, text.size());
      if (encode(*tokenizer, text, {.special = true}).size() < tokenizer->fewest_tokens(text.size())) {
        FAIL("token " << token);
      }
    }
    CHECK(tokenizer->fewest_tokens(0) == 0);
    CHECK(tokenizer->fewest_tokens(longest) == 1);
    CHECK(tokenizer->fewest_tokens(longest + 1) == 2);
  }
}

TEST_CASE("UTF-8 is what RFC 3629 says") {
  for (const char* right :
       {"a", "\u00e9", "\u6f22", "\U0001F999", "\xF4\x8F\xBF\xBF", "\xED\x9F\xBF", "\xEE\x80\x80"}) {
    CHECK(text::utf8_length(right) == std::strlen(right));
    CHECK(text::is_utf8(right));
    CHECK(text::utf8_length(std::string_view(right).substr(0, std::strlen(right) - 1)) == 0);
  }
  CHECK(text::utf8_length(std::string_view("\0", 1)) == 1);
  for (const char* wrong :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xC3\x28", "\xE2\x28\x80", "\xF0\x9F\x28\x80"}) {
    CHECK(text::utf8_length(wrong) == 0);
    CHECK(!text::is_utf8(std::string("a") + wrong));
  }
}
