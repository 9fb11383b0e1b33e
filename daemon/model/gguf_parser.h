// The checks that turn the bytes of a GGUF file into a GgufFile. Only gguf.cc and gguf_parts.cc use this.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "daemon/base/result.h"
#include "daemon/model/gguf.h"

namespace facet::model {

// Bytes of one value of a type of fixed size; 0 for strings and arrays.
size_t size_of(GgufType type);

// Reads `file`'s bytes from front to back and fills in the rest of it. After a failure the file is not to be
// used.
class GgufParser {
 public:
  explicit GgufParser(GgufFile& file) : file_(file) {}
  Result<void> run();

  // Sorts the file's tensors by name; malformed if a name stands twice.
  static Result<void> index_tensors(GgufFile& file);

 private:
  Result<void> read_header();
  Result<void> read_entry();
  Result<void> read_entries();
  Result<void> read_tensor();
  Result<void> read_tensors();
  Result<void> place_tensors();
  Result<void> refuse_overlaps();

  Result<std::string_view> read_name(std::string_view what, size_t limit);
  Result<GgufType> read_type(std::string_view key);
  // Moves over `count` values of `type` and checks those whose encoding can be wrong.
  Result<void> skip_values(std::string_view key, GgufType type, uint64_t count);

  uint64_t left() const { return file_.bytes_.size() - at_; }
  const std::byte* here() const { return file_.bytes_.data() + at_; }
  // The next number, or nullopt if the file ends before it.
  template <typename T>
  std::optional<T> next();
  // The next string: 8 bytes of length and its characters; nullopt if the file ends before it does.
  std::optional<std::string_view> next_string();

  Error malformed(std::string message) const { return file_.error(FACET_MALFORMED, message); }
  Error unsupported(std::string message) const { return file_.error(FACET_UNSUPPORTED, message); }

  GgufFile& file_;
  uint64_t at_ = 0;  // bytes read; at most the file's size
  uint64_t entry_count_ = 0, tensor_count_ = 0;
  std::vector<uint64_t> offsets_;  // of each tensor, from the start of the data
};

}  // namespace facet::model
