#include "daemon/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace facet {

Result<MappedFile> MappedFile::open(const std::string& path) {
  // O_NONBLOCK: opening a FIFO that nobody writes must fail below, not hang.
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return Error{errno == ENOENT ? FACET_NOT_FOUND : FACET_IO, path + ": " + std::strerror(errno)};
  }
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    int saved = errno;
    ::close(fd);
    return Error{FACET_IO, path + ": " + std::strerror(saved)};
  }
  if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    ::close(fd);
    return Error{FACET_MALFORMED,
                 path + ": " + (S_ISREG(info.st_mode) ? "is empty" : "is not a regular file")};
  }
  void* data = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_SHARED, fd, 0);
  int saved = errno;
  ::close(fd);
  if (data == MAP_FAILED) return Error{FACET_IO, path + ": " + std::strerror(saved)};
  MappedFile file;
  file.path_ = path;
  for (const auto part : {static_cast<int64_t>(info.st_dev), static_cast<int64_t>(info.st_ino),
                          static_cast<int64_t>(info.st_size), static_cast<int64_t>(info.st_ctim.tv_sec),
                          static_cast<int64_t>(info.st_ctim.tv_nsec)}) {
    file.identity_ += std::to_string(part) + " ";
  }
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = static_cast<size_t>(info.st_size);
  return file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      identity_(std::move(other.identity_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(identity_, other.identity_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void expect_rows(std::span<const std::byte> part) {
  // Whole pages only: what lies beside the part is read in its own way.
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<uintptr_t>(part.data());
  const uintptr_t first = (start + page - 1) / page * page;
  const uintptr_t last = (start + part.size()) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_RANDOM);
}

}  // namespace facet
