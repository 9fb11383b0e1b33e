// A model: an open file with its config, its program and its tokenizer.
//
// Immutable once loaded, and shared by all who use it. The weights stay in the file's mapping.
#pragma once

#include <memory>
#include <string>

#include "daemon/base/result.h"
#include "daemon/model/family.h"
#include "daemon/model/gguf.h"
#include "daemon/text/tokenizer.h"

namespace facet::model {

class Model {
 public:
  // Opens and checks a model file; no tensor is read. The error names the file and what is wrong in it.
  static Result<std::shared_ptr<const Model>> load(const std::string& path);
  // The same for a file that is open already.
  static Result<std::shared_ptr<const Model>> load(GgufFile file);

  const GgufFile& file() const { return file_; }
  const Family& family() const { return family_; }
  const Config& config() const { return family_.config; }
  const graph::Program& program() const { return family_.program; }
  // Per cache group: how many positions its layers see, 0 for all.
  const std::vector<uint32_t>& windows() const { return family_.windows; }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  Model(GgufFile file, Family family, text::Tokenizer tokenizer)
      : file_(std::move(file)), family_(std::move(family)), tokenizer_(std::move(tokenizer)) {}

  GgufFile file_;
  Family family_;
  text::Tokenizer tokenizer_;
};

// A drafter: a small model that guesses the tokens of another one, its *target*, whose tokens and cache it
// reads.
class Drafter {
 public:
  // The error names the file and what is wrong in it, or what does not fit the target.
  static Result<std::shared_ptr<const Drafter>> load(const std::string& path,
                                                     std::shared_ptr<const Model> target);

  const Config& config() const { return family_.config; }
  const graph::Program& program() const { return family_.program; }
  const Model& target() const { return *target_; }

 private:
  Drafter(GgufFile file, Family family, std::shared_ptr<const Model> target)
      : target_(std::move(target)), file_(std::move(file)), family_(std::move(family)) {}

  std::shared_ptr<const Model> target_;
  GgufFile file_;
  Family family_;
};

}  // namespace facet::model
