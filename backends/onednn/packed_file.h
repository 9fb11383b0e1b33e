// The packed copy (packing.h) of a program's weights, in a file.
//
// A file is a head, then the content: the matrices, each at a multiple of 64. The head is the bytes that
// describe the matrices and the content's hash. What a program finds is its copy if the describing bytes are
// the very ones that it would write itself; the content is not read for that, only by verify(). The file is
// written beside its place, under a lock, and renamed once it is on the disk; the head comes last. So neither
// a crash nor who removes or renames files leaves anything that could be taken for a copy.
#pragma once

#include <facet/description.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "backends/onednn/content_hash.h"

namespace facet::cpu {

class PackedFile {
 public:
  // `matrices`: the weights of the description that are to be packed, those that can_pack().
  PackedFile(const plugin::Description& description, const std::vector<uint32_t>& matrices);
  ~PackedFile();
  PackedFile(const PackedFile&) = delete;
  PackedFile& operator=(const PackedFile&) = delete;

  // Of the file; 0 if there is nothing to pack.
  uint64_t bytes() const { return matrices_.empty() ? 0 : bytes_; }
  // Finds the copy at `path`, or from the second call on writes the next piece of it. True once it is mapped,
  // and from then on. The next call goes on with the same path. Throws Failure: FACET_IO naming the file,
  // also if others than this user may write it; FACET_EXHAUSTED if it is being written by another process.
  bool step(const std::string& path);
  // Reads the whole copy at `path`, whoever owns it, and compares its content with the hash that was written
  // with it. Throws Failure naming the file: FACET_NOT_FOUND if there is no copy of these weights,
  // FACET_MALFORMED if the content is another.
  void verify(const std::string& path) const;
  // A packed weight, once step() has given true; NULL for others.
  const uint8_t* matrix(uint32_t weight) const;

 private:
  struct Matrix {
    const facet_weight* weight;
    size_t row_bytes;
    uint64_t groups;  // of all matrices of a stack
    uint64_t offset;  // in the file
  };

  bool has_head(int fd, const std::string& path) const;
  bool map(const std::string& path);
  void begin(const std::string& path);
  void pack_next();
  void write(size_t bytes);
  void write_at(uint64_t offset, const uint8_t* data, size_t bytes);
  void finish(const std::string& path);
  void give_up();
  void close();

  std::vector<Matrix> matrices_;
  std::vector<size_t> matrix_of_;  // per weight: number, or SIZE_MAX
  std::string head_;               // in the file the last bytes are the hash
  uint64_t bytes_ = 0;
  bool looked_ = false;  // for a copy

  // While it is written: the file that is not whole, how much of it is written, and what is packed but not
  // written yet.
  std::string part_;
  int fd_ = -1;
  uint64_t written_ = 0, synced_ = 0;
  std::vector<uint8_t> waiting_;
  size_t matrix_ = 0;
  uint64_t group_ = 0;
  ContentHash hash_;  // of what is packed

  const std::byte* mapped_ = nullptr;
};

}  // namespace facet::cpu
