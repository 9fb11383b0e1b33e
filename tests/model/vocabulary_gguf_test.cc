#include "daemon/model/vocabulary_gguf.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "daemon/text/tokenizer.h"
#include "tests/model/gguf_bytes.h"
#include "tests/test_models.h"

namespace model = facet::model;
namespace test = facet::test;
namespace text = facet::text;
using model::GgufFile;
using model::GgufType;
using test::as_bytes;
using test::GgufBytes;

namespace {

// A vocabulary of six tokens; each part can be replaced before it is written.
struct Written {
  std::string algorithm = "llama";
  std::vector<std::string> pieces = {"<unk>", "<s>", "</s>", "\u2581", "a", "<0x41>"};
  std::vector<float> scores = {0, 0, 0, -1, -2, 0};
  std::vector<int32_t> kinds = {2, 3, 4, 1, 1, 6};
  std::vector<std::string> merges;  // written only if there are some
  std::function<void(GgufBytes&)> more = [](GgufBytes& file) {
    file.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.unknown_token_id", 0);
  };

  std::string str() const {
    GgufBytes file;
    file.string("tokenizer.ggml.model", algorithm).strings("tokenizer.ggml.tokens", pieces);
    file.numbers("tokenizer.ggml.scores", GgufType::kFloat32, scores);
    file.numbers("tokenizer.ggml.token_type", GgufType::kInt32, kinds);
    if (!merges.empty()) file.strings("tokenizer.ggml.merges", merges);
    more(file);
    return file.str();
  }

  // The same in the way of Gemma 4.
  static Written gemma4() {
    Written written;
    written.algorithm = "gemma4";
    written.pieces = {"<unk>", "<s>", "<turn|>", "a", "b", "ab", "aba", "</s>"};
    written.scores.assign(8, -1000);
    written.kinds = {2, 3, 4, 1, 1, 1, 1, 1};
    written.merges = {"a b", "ab a"};
    return written;
  }
};

void refused(const Written& written, facet_status code, const std::string& part) {
  std::string bytes = written.str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(!vocabulary.ok());
  INFO(vocabulary.error().message);
  CHECK(vocabulary.error().code == code);
  CHECK(vocabulary.error().message.starts_with("test.gguf: "));
  CHECK(vocabulary.error().message.find(part) != std::string::npos);
}

Written with(const std::function<void(Written&)>& change) {
  Written written;
  change(written);
  return written;
}

}  // namespace

TEST_CASE("a vocabulary is read from a file without tensors") {
  std::string bytes = Written().str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  CHECK(vocabulary->size() == 6);
  CHECK(vocabulary->piece(4) == "a");
  CHECK(vocabulary->score(4) == -2);
  CHECK(vocabulary->kind(1) == text::TokenKind::kControl);
  CHECK(vocabulary->kind(5) == text::TokenKind::kByte);
  CHECK(vocabulary->byte(5) == 0x41);
  CHECK(vocabulary->bos() == 1);
  CHECK(vocabulary->unknown() == 0);
  CHECK(!vocabulary->eos());
  CHECK(vocabulary->add_bos());
  CHECK(vocabulary->add_space_prefix());
  // "</s>" closes an answer whatever kind the file gives it.
  CHECK(vocabulary->kind(2) == text::TokenKind::kControl);
  CHECK(vocabulary->ends_generation(2));
  CHECK(!vocabulary->ends_generation(1));
  // The pieces are views of the file.
  CHECK(vocabulary->piece(4).data() > bytes.data());
  CHECK(vocabulary->piece(4).data() < bytes.data() + bytes.size());
}

TEST_CASE("declared end tokens and flags are taken over") {
  std::string bytes = with([](Written& w) {
                        w.more = [](GgufBytes& file) {
                          file.u32("tokenizer.ggml.eos_token_id", 4).u32("tokenizer.ggml.eot_token_id", 3);
                          file.boolean("tokenizer.ggml.add_bos_token", false);
                          file.boolean("tokenizer.ggml.add_space_prefix", false);
                        };
                      }).str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  std::vector<text::Token> ends(vocabulary->end_of_generation().begin(),
                                vocabulary->end_of_generation().end());
  CHECK(ends == std::vector<text::Token>{2, 3, 4});
  CHECK(!vocabulary->add_bos());
  CHECK(!vocabulary->add_space_prefix());
}

TEST_CASE("suppressed tokens are taken over, and refused by key where they are no tokens") {
  auto suppressing = [](const std::vector<int32_t>& ids) {
    return with([=](Written& w) {
      w.more = [=](GgufBytes& file) {
        file.numbers("tokenizer.ggml.suppress_tokens", GgufType::kInt32, ids);
      };
    });
  };
  auto suppressed = [](const Written& written) {
    std::string bytes = written.str();
    auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
    REQUIRE(file.ok());
    auto vocabulary = model::read_vocabulary(*file);
    REQUIRE(vocabulary.ok());
    return std::vector<text::Token>(vocabulary->suppressed().begin(), vocabulary->suppressed().end());
  };
  CHECK(suppressed(Written()).empty());
  CHECK(suppressed(suppressing({})).empty());
  CHECK(suppressed(suppressing({5, 0, 5, 3})) == std::vector<text::Token>{0, 3, 5});

  const std::string key = "key 'tokenizer.ggml.suppress_tokens'";
  refused(suppressing({3, 6}), FACET_MALFORMED, key + " has the token 6, the vocabulary 6 tokens");
  refused(suppressing({-1}), FACET_MALFORMED, key + " has the token -1,");
  refused(suppressing(std::vector<int32_t>(7, 1)), FACET_MALFORMED, key + " has 7 elements,");
  refused(suppressing({0, 1, 2, 3, 4, 5}), FACET_MALFORMED, "the vocabulary suppresses all tokens");
  refused(with([](Written& w) {
            w.more = [](GgufBytes& file) { file.u32("tokenizer.ggml.suppress_tokens", 3); };
          }),
          FACET_MALFORMED, "'tokenizer.ggml.suppress_tokens'");
  refused(with([](Written& w) {
            w.more = [](GgufBytes& file) {
              file.numbers<uint64_t>("tokenizer.ggml.suppress_tokens", GgufType::kUint64, {UINT64_MAX});
            };
          }),
          FACET_MALFORMED, "tokenizer.ggml.suppress_tokens");
}

TEST_CASE("a vocabulary of Gemma 4 is read with its merges") {
  std::string bytes = Written::gemma4().str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  CHECK(vocabulary->algorithm() == text::Algorithm::kBpe);
  REQUIRE(vocabulary->merges().size() == 2);
  CHECK(vocabulary->merges()[1] == "ab a");
  CHECK(!vocabulary->add_space_prefix());
  CHECK(vocabulary->kind(2) == text::TokenKind::kControl);
  CHECK(vocabulary->ends_generation(2));
  // Gemma 3's name for an end is a tag here.
  CHECK(!vocabulary->ends_generation(7));
  auto tokenizer = text::Tokenizer::make(std::move(*vocabulary));
  REQUIRE(tokenizer.ok());
  CHECK(*tokenizer->encode("abab", {.bos = true}) == std::vector<text::Token>{1, 5, 5});
  CHECK(*tokenizer->encode("aba") == std::vector<text::Token>{6});
}

TEST_CASE("a vocabulary of Gemma 4 asks for BOS whatever the file says, and needs no scores") {
  GgufBytes written;
  Written parts = Written::gemma4();
  written.string("tokenizer.ggml.model", "gemma4").strings("tokenizer.ggml.tokens", parts.pieces);
  written.numbers("tokenizer.ggml.token_type", GgufType::kInt32, parts.kinds);
  written.strings("tokenizer.ggml.merges", parts.merges);
  written.boolean("tokenizer.ggml.add_bos_token", false);
  std::string bytes = written.str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  CHECK(vocabulary->add_bos());
}

TEST_CASE("merges that are missing or wrong are refused by name") {
  auto gemma4 = [](const std::function<void(Written&)>& change) {
    Written written = Written::gemma4();
    change(written);
    return written;
  };
  refused(gemma4([](Written& w) { w.merges.clear(); }), FACET_NOT_FOUND, "'tokenizer.ggml.merges'");
  refused(gemma4([](Written& w) {
            w.merges.clear();
            w.more = [](GgufBytes& file) { file.strings("tokenizer.ggml.merges", {}); };
          }),
          FACET_MALFORMED, "has no merges");
  refused(gemma4([](Written& w) {
            w.merges.clear();
            w.more = [](GgufBytes& file) {
              file.numbers("tokenizer.ggml.merges", GgufType::kInt32, std::vector<int32_t>{1, 2});
            };
          }),
          FACET_MALFORMED, "'tokenizer.ggml.merges'");
  refused(gemma4([](Written& w) { w.merges.assign(text::kMaxMerges + 1, "a b"); }), FACET_MALFORMED,
          "has 4194305 merges");

  auto no_tokenizer = [&](const std::string& merge, const std::string& part) {
    std::string bytes = gemma4([&](Written& w) { w.merges[1] = merge; }).str();
    auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
    REQUIRE(file.ok());
    auto vocabulary = model::read_vocabulary(*file);
    REQUIRE(vocabulary.ok());
    auto tokenizer = text::Tokenizer::make(std::move(*vocabulary));
    REQUIRE(!tokenizer.ok());
    INFO(tokenizer.error().message);
    CHECK(tokenizer.error().code == FACET_MALFORMED);
    CHECK(tokenizer.error().message.find("merge 1 " + part) != std::string::npos);
  };
  for (const char* merge : {"", " ", "ab", "ab ", " ab", "a b a", "a  b", "a b "}) {
    CAPTURE(merge);
    no_tokenizer(merge, "is not two pieces");
  }
  no_tokenizer("c a", "has a left side that is no normal token");
  no_tokenizer("a \xFF", "has a right side that is no normal token");
  no_tokenizer("a <s>", "has a right side that is no normal token");
  no_tokenizer("b a", "makes no normal token");
}

TEST_CASE("of two equal merges the first counts") {
  Written written = Written::gemma4();
  written.pieces[6] = "ba";
  written.merges = {"a b", "b a", "a b"};
  std::string bytes = written.str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  auto tokenizer = text::Tokenizer::make(std::move(*vocabulary));
  REQUIRE(tokenizer.ok());
  CHECK(*tokenizer->encode("aba") == std::vector<text::Token>{5, 3});
}

TEST_CASE("a vocabulary of another kind or with wrong parts is refused by name") {
  refused(with([](Written& w) { w.algorithm = "gpt2"; }), FACET_UNSUPPORTED,
          "tokenizer 'gpt2' is not supported");
  refused(with([](Written& w) { w.scores.pop_back(); }), FACET_MALFORMED, "6 pieces, 5 scores and 6 kinds");
  refused(with([](Written& w) { w.kinds.push_back(1); }), FACET_MALFORMED, "7 kinds");
  refused(with([](Written& w) { w.scores[3] = std::nanf(""); }), FACET_MALFORMED,
          "token 3 a score that is not a number");
  refused(with([](Written& w) { w.kinds[4] = 7; }), FACET_MALFORMED, "token 4 the unknown kind 7");
  refused(with([](Written& w) { w.kinds[4] = 0; }), FACET_MALFORMED, "token 4 the unknown kind");
  refused(with([](Written& w) { w.kinds[4] = 257; }), FACET_MALFORMED, "token 4 the unknown kind");
  refused(with([](Written& w) { w.kinds[4] = -1; }), FACET_MALFORMED, "token 4 the unknown kind");
  refused(with([](Written& w) { w.pieces[5] = "<0xZZ>"; }), FACET_MALFORMED, "byte token 5");
  refused(with([](Written& w) { w.pieces[5] = ""; }), FACET_MALFORMED, "byte token 5");
  refused(with([](Written& w) { w.pieces[4] = std::string(1025, 'x'); }), FACET_MALFORMED,
          "token 4 a piece of 1025 bytes");
  refused(with([](Written& w) { w.pieces.clear(), w.scores.clear(), w.kinds.clear(); }), FACET_MALFORMED,
          "is empty");
  auto id = [](const char* key, uint32_t value) {
    return with([=](Written& w) { w.more = [=](GgufBytes& file) { file.u32(key, value); }; });
  };
  refused(id("tokenizer.ggml.bos_token_id", 6), FACET_MALFORMED, "BOS 6, but only 6 tokens");
  refused(id("tokenizer.ggml.eos_token_id", 99), FACET_MALFORMED, "EOS 99");
  refused(id("tokenizer.ggml.eot_token_id", 99), FACET_MALFORMED, "end token 99");
  refused(id("tokenizer.ggml.unknown_token_id", UINT32_MAX), FACET_MALFORMED,
          "'tokenizer.ggml.unknown_token_id'");
}

TEST_CASE("a vocabulary takes no memory for more tokens than there may be") {
  GgufBytes file;
  const Written full;
  file.string("tokenizer.ggml.model", full.algorithm);
  file.strings("tokenizer.ggml.tokens", full.pieces);
  file.numbers("tokenizer.ggml.scores", GgufType::kFloat32, full.scores);
  file.numbers("tokenizer.ggml.token_type", GgufType::kUint8, std::vector<uint8_t>((1 << 24) + 1, 1));
  const std::string bytes = file.str();
  const auto opened = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(opened.ok());
  const auto vocabulary = model::read_vocabulary(*opened);
  REQUIRE(!vocabulary.ok());
  CHECK(vocabulary.error().code == FACET_MALFORMED);
  CHECK(vocabulary.error().message.find("the vocabulary has 16777217 tokens") != std::string::npos);
}

TEST_CASE("a missing key of the vocabulary is named") {
  for (const char* missing : {"tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.scores",
                              "tokenizer.ggml.token_type"}) {
    GgufBytes file;
    Written full;
    auto wanted = [&](const char* key) { return std::string_view(key) != missing; };
    if (wanted("tokenizer.ggml.model")) file.string("tokenizer.ggml.model", full.algorithm);
    if (wanted("tokenizer.ggml.tokens")) file.strings("tokenizer.ggml.tokens", full.pieces);
    if (wanted("tokenizer.ggml.scores"))
      file.numbers("tokenizer.ggml.scores", GgufType::kFloat32, full.scores);
    if (wanted("tokenizer.ggml.token_type"))
      file.numbers("tokenizer.ggml.token_type", GgufType::kInt32, full.kinds);
    std::string bytes = file.str();
    auto opened = GgufFile::parse(as_bytes(bytes), "test.gguf");
    REQUIRE(opened.ok());
    auto vocabulary = model::read_vocabulary(*opened);
    REQUIRE(!vocabulary.ok());
    CHECK(vocabulary.error().code == FACET_NOT_FOUND);
    CHECK(vocabulary.error().message.find(missing) != std::string::npos);
  }
}

TEST_CASE("a tokenizer needs a token for every byte") {
  std::string bytes = with([](Written& w) { w.more = [](GgufBytes&) {}; }).str();
  auto file = GgufFile::parse(as_bytes(bytes), "test.gguf");
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  auto tokenizer = text::Tokenizer::make(std::move(*vocabulary));
  REQUIRE(!tokenizer.ok());
  CHECK(tokenizer.error().code == FACET_MALFORMED);
  CHECK(tokenizer.error().message.find("no token for byte 0 ") != std::string::npos);
}

TEST_CASE("the real Gemma 3 vocabulary is read") {
  auto file = GgufFile::open(test::real_gemma3_path());
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  CHECK(vocabulary->size() == 262144);
  CHECK(vocabulary->bos() == 2);
  CHECK(vocabulary->eos() == 1);
  CHECK(vocabulary->unknown() == 3);
  CHECK(vocabulary->add_bos());
  CHECK(!vocabulary->add_space_prefix());
  std::vector<text::Token> ends(vocabulary->end_of_generation().begin(),
                                vocabulary->end_of_generation().end());
  CHECK(ends == std::vector<text::Token>{1, 106, 212});
}

TEST_CASE("the real Gemma 4 vocabulary is read") {
  auto file = GgufFile::open(test::gemma4_vocabulary_path());
  REQUIRE(file.ok());
  auto vocabulary = model::read_vocabulary(*file);
  REQUIRE(vocabulary.ok());
  CHECK(vocabulary->size() == 262144);
  CHECK(vocabulary->merges().size() == 514906);
  CHECK(vocabulary->bos() == 2);
  CHECK(vocabulary->eos() == 1);
  CHECK(vocabulary->unknown() == 3);
  CHECK(vocabulary->add_bos());
  CHECK(!vocabulary->add_space_prefix());
  std::vector<text::Token> ends(vocabulary->end_of_generation().begin(),
                                vocabulary->end_of_generation().end());
  CHECK(ends == std::vector<text::Token>{1, 50, 106});
}
