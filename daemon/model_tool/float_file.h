// A file of rows of float32, little endian, all of one width, without a header.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "daemon/base/result.h"
#include "daemon/base/unique_fd.h"

namespace facet::model_tool {

class FloatFile {
 public:
  // Makes the file, or empties the one that is there. io, naming the path.
  static Result<FloatFile> create(const std::string& path);
  // Rows may come in any order.
  Result<void> write_row(uint64_t number, std::span<const float> row);

 private:
  FloatFile(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  std::string path_;
  UniqueFd fd_;
};

}  // namespace facet::model_tool
