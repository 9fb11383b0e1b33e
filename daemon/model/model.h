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

  const GgufFile& file() const { return file_; }
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

}  // namespace facet::model
