#include "daemon/model/model.h"

#include "daemon/model/vocabulary_gguf.h"

namespace facet::model {

Result<Family> build_family(const GgufFile& file) {
  FACET_TRY(std::string_view architecture, file.string("general.architecture"));
  if (architecture == "gemma3") return build_gemma3(file);
  if (architecture == "gemma4") return build_gemma4(file);
  if (architecture == "gemma4-assistant") {
    return file.error(FACET_UNSUPPORTED,
                      "architecture gemma4-assistant: a drafter runs beside its model only");
  }
  return file.error(FACET_UNSUPPORTED,
                    "architecture " + std::string(architecture) + " is not one of: gemma3, gemma4");
}

Result<std::shared_ptr<const Model>> Model::load(const std::string& path) {
  FACET_TRY(GgufFile file, GgufFile::open(path));
  return load(std::move(file));
}

Result<std::shared_ptr<const Model>> Model::load(GgufFile file) {
  FACET_TRY(Family family, build_family(file));
  FACET_TRY(text::Vocabulary vocabulary, read_vocabulary(file));
  auto tokenizer = text::Tokenizer::make(std::move(vocabulary));
  if (!tokenizer.ok()) return file.error(tokenizer.error().code, tokenizer.error().message);
  return std::shared_ptr<const Model>(new Model(std::move(file), std::move(family), std::move(*tokenizer)));
}

Result<std::shared_ptr<const Drafter>> Drafter::load(const std::string& path,
                                                     std::shared_ptr<const Model> target) {
  FACET_TRY(GgufFile file, GgufFile::open(path));
  FACET_TRY(Family family, build_gemma4_assistant(file, target->file(), target->family()));
  return std::shared_ptr<const Drafter>(new Drafter(std::move(file), std::move(family), std::move(target)));
}

}  // namespace facet::model
