// A file mapped read-only and shared: its pages belong to the kernel's file cache, and every process that
// maps the same file shares them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "daemon/base/result.h"

namespace facet {

// Owns one mapping. Movable; spans taken from bytes() stay valid across a move and until the owner is
// destroyed. Thread-compatible: const calls may run at the same time.
class MappedFile {
 public:
  // Maps a regular file whole. not_found if there is none; io with the system's text otherwise; malformed if
  // it is empty or not a regular file. A file that another process cuts short later raises SIGBUS on access:
  // models are replaced by rename, never rewritten in place.
  static Result<MappedFile> open(const std::string& path);

  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Device, inode, size and time of the last change (ctime, which nobody sets): another file, or other
  // contents, have another one.
  const std::string& identity() const { return identity_; }

 private:
  std::string path_, identity_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Says of a part of a mapping that single rows of it will be read, in no order: the kernel then reads the
// pages of a row alone, not those around it. Only a hint.
void expect_rows(std::span<const std::byte> part);

}  // namespace facet
