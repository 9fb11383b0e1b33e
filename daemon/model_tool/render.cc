#include <nlohmann/json.hpp>

#include "daemon/base/log.h"
#include "daemon/model/gguf.h"
#include "daemon/model/vocabulary_gguf.h"
#include "daemon/model_tool/commands.h"
#include "daemon/model_tool/json_lines.h"
#include "daemon/text/chat_format.h"
#include "daemon/text/chat_json.h"
#include "daemon/text/chat_template.h"
#include "daemon/text/tokenizer.h"

namespace facet::model_tool {
namespace {

using nlohmann::json;

Result<json> render_line(const text::ChatFormat& format, const text::Tokenizer& tokenizer,
                         const std::string& line) {
  FACET_TRY(const text::Chat chat, text::read_chat(line));
  FACET_TRY(const text::MarkedText prompt, text::render_chat(format.family(), chat));
  FACET_TRY(const Ids ids, format.encode(tokenizer, prompt));
  return json{{"text", prompt.text()}, {"ids", ids}};
}

}  // namespace

Result<void> render(const TokensOptions& options) {
  FACET_TRY(model::GgufFile file, model::GgufFile::open(options.file));
  FACET_TRY(const std::string_view architecture, file.string("general.architecture"));
  FACET_TRY(const auto chat_template, file.find_string("tokenizer.chat_template"));
  const auto family = text::chat_family(architecture, chat_template.value_or(""));
  if (!family) {
    return file.error(FACET_UNSUPPORTED,
                      "architecture " + model::quoted(architecture) + " has no chat format");
  }
  if (chat_template && !text::known_template(*chat_template)) {
    log::warning(options.file + ": " + text::kUnknownTemplate);
  }
  FACET_TRY(text::Vocabulary vocabulary, model::read_vocabulary(file));
  auto tokenizer = text::Tokenizer::make(std::move(vocabulary));
  if (!tokenizer.ok()) return file.error(tokenizer.error().code, tokenizer.error().message);
  auto format = text::ChatFormat::make(*family, tokenizer->vocabulary());
  if (!format.ok()) return file.error(format.error().code, format.error().message);
  return answer_lines([&](const std::string& line) { return render_line(*format, *tokenizer, line); });
}

}  // namespace facet::model_tool
