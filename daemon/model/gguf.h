// Reading GGUF model files.
//
// A GGUF file is metadata, then a directory of tensors (together its *header*), then the tensors' data.
// *Metadata* are pairs of a key ("gemma3.block_count") and a value: a number, a bool, a string, or an array
// of one of these. A *tensor* is a block of numbers with a name, a type and up to four dimensions; the first
// dimension is the one whose elements lie next to each other (a *row*). Types come in *blocks*: so many
// elements of a row in so many bytes.
//
// The file comes from elsewhere. Opening it checks every count, length, type, dimension and offset against
// the file's size before use; what breaks the format is FACET_MALFORMED, what is well-formed but not
// supported here is FACET_UNSUPPORTED, and the message names the file, the key or tensor, and what is wrong.
// Opening reads the metadata and the directory only, never the tensors' pages. Nothing is copied: names,
// strings, arrays and data are views of the map.
//
// A model may be split over several files (gguf_parts.h): opening the first opens all, and what is seen is
// one file with the metadata of the first and the tensors of all.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/base/mapped_file.h"
#include "daemon/base/result.h"

namespace facet::model {

// The type of a metadata value; the numbers are those of the format.
enum class GgufType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

// "uint32", "string", ...
std::string_view name_of(GgufType type);

// Text out of a file as a message shows it: in quotes, cut at 80 bytes, anything but printable ASCII as \xNN.
std::string quoted(std::string_view text);

// One metadata pair. For an array `element` is the type of its `count` elements; otherwise element = type,
// count = 1. `data` starts at the first element; a string there is 8 bytes of length and its characters.
struct GgufEntry {
  std::string_view key;
  GgufType type;
  GgufType element;
  uint64_t count;
  std::span<const std::byte> data;
};

// How a tensor type is stored: `elements` of a row in `bytes`.
struct BlockFormat {
  std::string_view name;  // "Q4_K"
  uint32_t elements;
  uint32_t bytes;
};

// The format of a facet_type of <facet/backend.h>; nullopt for a number that is none.
std::optional<BlockFormat> block_format(uint32_t type);

struct GgufTensor {
  std::string_view name;            // "blk.0.attn_q.weight"
  uint32_t type;                    // facet_type
  uint32_t dims_count;              // 1 to 4
  std::array<uint64_t, 4> dims;     // elements; dims[0] is the length of a row; 1 from dims_count on
  std::span<const std::byte> data;  // exactly its bytes; in an opened file aligned to 32

  uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
  uint64_t elements() const { return dims[0] * rows(); }
  uint64_t row_bytes() const { return data.size() / rows(); }
};

// Array values, decoded element by element from the map. Valid as long as the file.
class GgufIntegers {
 public:
  explicit GgufIntegers(const GgufEntry& entry) : entry_(entry) {}
  size_t size() const { return entry_.count; }
  int64_t operator[](size_t index) const;  // index < size(); a bool is 0 or 1

 private:
  GgufEntry entry_;
};

class GgufFloats {
 public:
  explicit GgufFloats(const GgufEntry& entry) : entry_(entry) {}
  size_t size() const { return entry_.count; }
  float operator[](size_t index) const;  // index < size(); a float64 is rounded

 private:
  GgufEntry entry_;
};

// Strings have different lengths: they are read in order, with a range-for.
class GgufStrings {
 public:
  class Iterator {
   public:
    Iterator(const std::byte* at, uint64_t left) : at_(at), left_(left) {}
    std::string_view operator*() const;
    Iterator& operator++();
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    const std::byte* at_;
    uint64_t left_;
  };

  explicit GgufStrings(const GgufEntry& entry) : entry_(entry) {}
  size_t size() const { return entry_.count; }
  Iterator begin() const { return {entry_.data.data(), entry_.count}; }
  Iterator end() const { return {nullptr, 0}; }

 private:
  GgufEntry entry_;
};

// An open file. Movable; views stay valid across a move and until it is destroyed. Const calls may run at the
// same time.
class GgufFile {
 public:
  // Maps and checks the file, and the other parts if it is the first of several; the error names the part.
  // Besides the codes above, those of MappedFile::open.
  static Result<GgufFile> open(const std::string& path);
  // The file itself, even if it is a part: with the tensors of that part only.
  static Result<GgufFile> open_alone(const std::string& path);
  // The same for bytes in memory, which must outlive the object. `name` stands for the path in messages.
  static Result<GgufFile> parse(std::span<const std::byte> bytes, std::string name);
  // All parts of a model, in their order and at least one, as one file with the path of the first. malformed
  // if they are not the parts of one model, or hold a tensor twice, too many or too few.
  static Result<GgufFile> join(std::vector<GgufFile> parts);

  const std::string& path() const { return path_; }
  uint32_t version() const { return version_; }
  // Of all parts.
  uint64_t file_bytes() const { return file_bytes_; }
  // The mapped files: one, or one per part; none after parse().
  size_t parts() const { return maps_.size(); }
  std::span<const std::byte> mapping(size_t part) const { return maps_[part].bytes(); }
  // Of all parts (MappedFile::identity).
  std::string identity() const;
  // Of each part.
  std::span<const std::span<const std::byte>> headers() const { return headers_; }

  // Metadata of the first part in file order, and by key (nullptr if there is none).
  std::span<const GgufEntry> entries() const { return entries_; }
  const GgufEntry* entry(std::string_view key) const;

  // Required values: FACET_NOT_FOUND if there is no such key, FACET_MALFORMED if its value is of another type
  // or does not fit. An integer getter takes every integer type; f32 takes a float64 of its range; string
  // takes UTF-8 only; integers takes integers and bools.
  Result<uint32_t> u32(std::string_view key) const;
  Result<int64_t> i64(std::string_view key) const;
  Result<float> f32(std::string_view key) const;
  Result<bool> boolean(std::string_view key) const;
  Result<std::string_view> string(std::string_view key) const;
  Result<GgufIntegers> integers(std::string_view key) const;
  Result<GgufFloats> floats(std::string_view key) const;
  Result<GgufStrings> strings(std::string_view key) const;

  // Optional values: nullopt if there is no such key; a value of another type is still an error.
  Result<std::optional<uint32_t>> find_u32(std::string_view key) const;
  Result<std::optional<int64_t>> find_i64(std::string_view key) const;
  Result<std::optional<float>> find_f32(std::string_view key) const;
  Result<std::optional<bool>> find_boolean(std::string_view key) const;
  Result<std::optional<std::string_view>> find_string(std::string_view key) const;
  Result<std::optional<GgufIntegers>> find_integers(std::string_view key) const;
  Result<std::optional<GgufFloats>> find_floats(std::string_view key) const;
  Result<std::optional<GgufStrings>> find_strings(std::string_view key) const;

  // Tensors in file order, part by part, and by name (nullptr if there is none).
  std::span<const GgufTensor> tensors() const { return tensors_; }
  const GgufTensor* tensor(std::string_view name) const;

  // An error about this file: "PATH: MESSAGE".
  Error error(facet_status code, std::string_view message) const;

 private:
  friend class GgufParser;
  GgufFile() = default;

  std::vector<MappedFile> maps_;  // of each part; none after parse()
  std::string path_;
  std::span<const std::byte> bytes_;  // of the first part
  std::vector<std::span<const std::byte>> headers_;
  uint64_t file_bytes_ = 0;
  uint32_t version_ = 0;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
  std::vector<uint32_t> entries_by_key_;   // indices into entries_
  std::vector<uint32_t> tensors_by_name_;  // indices into tensors_
};

}  // namespace facet::model
