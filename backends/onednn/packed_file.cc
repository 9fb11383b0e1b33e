#include "backends/onednn/packed_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <facet/backend.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string_view>
#include <utility>

#include "backends/onednn/kernels.h"
#include "backends/onednn/packing.h"

namespace facet::cpu {
namespace {

constexpr char kMagic[] = "facet packed weights 2\n";  // the number is that of the layout
// What a step packs, and what is written at a time, so that the file's pages in memory can be huge ones.
constexpr size_t kStepBytes = 2 << 20;

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

[[noreturn]] void io_failed(const std::string& path, const char* what) {
  const int error = errno;
  throw plugin::Failure(FACET_IO, path + ": " + what + ": " + std::strerror(error));
}

struct File {
  int fd;
  ~File() {
    if (fd >= 0) ::close(fd);
  }
};

struct stat status_of(int fd, const std::string& path) {
  struct stat info;
  if (::fstat(fd, &info) != 0) io_failed(path, "cannot be read");
  return info;
}

// No file if there is none. A link is not followed, and a pipe not waited for.
File open_copy(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0 && errno != ENOENT) io_failed(path, "cannot be opened");
  return File{fd};
}

void read_at(int fd, const std::string& path, uint64_t offset, uint8_t* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t count = ::pread(fd, data + done, bytes - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) io_failed(path, "cannot be read");
    if (count == 0) throw plugin::Failure(FACET_IO, path + ": was cut short while it was read");
    done += static_cast<size_t>(count);
  }
}

// Others could put weights of their choice into a file that they may write, or cut it short while it is
// mapped.
void check_owner(int fd, const std::string& path) {
  const struct stat info = status_of(fd, path);
  if (!S_ISREG(info.st_mode)) throw plugin::Failure(FACET_IO, path + ": is not a regular file");
  if (info.st_uid != ::geteuid() || (info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw plugin::Failure(FACET_IO, path + ": others may write it");
  }
}

// Whether `path` still names the open file.
bool is_named(int fd, const std::string& path) {
  const struct stat open = status_of(fd, path);
  struct stat named;
  return ::lstat(path.c_str(), &named) == 0 && named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

}  // namespace

PackedFile::PackedFile(const plugin::Description& description, const std::vector<uint32_t>& matrices)
    : matrix_of_(description.weights.size(), SIZE_MAX) {
  std::string list;
  uint64_t end = 0;
  for (uint32_t number : matrices) {
    const facet_weight& weight = description.weights[number];
    matrix_of_[number] = matrices_.size();
    matrices_.push_back({&weight, facet_row_bytes(weight.type, weight.dims[0]),
                         weight.dims[1] * weight.dims[2] / kPackedOutputs, end});
    append(list, end);
    append(list, weight.type);
    for (uint64_t dim : weight.dims) append(list, dim);
    append(list, uint64_t{std::strlen(weight.name)});
    list += weight.name;
    end = round_up(end + weight.bytes, 64);
  }
  head_ = kMagic;
  append(head_, uint64_t{list.size()});
  head_ += list;
  head_.resize(round_up(head_.size() + sizeof(ContentHash::Digest), 64));
  for (Matrix& matrix : matrices_) matrix.offset += head_.size();
  bytes_ = head_.size() + end;
}

PackedFile::~PackedFile() {
  give_up();
  if (mapped_ != nullptr) ::munmap(const_cast<std::byte*>(mapped_), bytes_);
}

const uint8_t* PackedFile::matrix(uint32_t weight) const {
  const size_t number = matrix_of_[weight];
  if (number == SIZE_MAX) return nullptr;
  return reinterpret_cast<const uint8_t*>(mapped_ + matrices_[number].offset);
}

bool PackedFile::step(const std::string& path) {
  if (mapped_ != nullptr) return true;
  if (fd_ < 0) {
    if (map(path)) return true;
    if (std::exchange(looked_, true)) begin(path);
    return false;
  }
  try {
    while (matrix_ < matrices_.size() && waiting_.size() < kStepBytes) pack_next();
    if (matrix_ < matrices_.size()) {
      write(waiting_.size() / kStepBytes * kStepBytes);
      return false;
    }
    write(waiting_.size());
    finish(path);
  } catch (const std::bad_alloc&) {
    give_up();
    throw plugin::Failure(FACET_IO, path + ": there is no memory to write it");
  } catch (...) {
    give_up();
    throw;
  }
  if (!map(path)) throw plugin::Failure(FACET_IO, path + ": was replaced while it was written");
  return true;
}

void PackedFile::pack_next() {
  const Matrix& matrix = matrices_[matrix_];
  const size_t group_bytes = kPackedOutputs * matrix.row_bytes, at = waiting_.size();
  waiting_.resize(at + group_bytes);
  pack_group(matrix.weight->type, static_cast<const uint8_t*>(matrix.weight->data) + group_ * group_bytes,
             matrix.row_bytes, waiting_.data() + at);
  if (++group_ == matrix.groups) {
    group_ = 0;
    ++matrix_;
    const uint64_t next = matrix_ < matrices_.size() ? matrices_[matrix_].offset : bytes_;
    waiting_.resize(next - written_);  // zeros between two matrices
  }
  hash_.add(waiting_.data() + at, waiting_.size() - at);
}

// Whether the open file has the size and describes the matrices of a copy of these weights.
bool PackedFile::has_head(int fd, const std::string& path) const {
  if (static_cast<uint64_t>(status_of(fd, path).st_size) != bytes_) return false;
  const std::string_view describing(head_.data(), head_.size() - sizeof(ContentHash::Digest));
  std::string found(describing.size(), '\0');
  return ::pread(fd, found.data(), found.size(), 0) == static_cast<ssize_t>(found.size()) &&
         found == describing;
}

// False if there is no such file or it is no copy of these weights.
bool PackedFile::map(const std::string& path) {
  const File file = open_copy(path);
  if (file.fd < 0) return false;
  check_owner(file.fd, path);
  if (!has_head(file.fd, path)) return false;
  void* data = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) io_failed(path, "cannot be mapped");
  ::madvise(data, bytes_, MADV_HUGEPAGE);  // only a hint
  mapped_ = static_cast<const std::byte*>(data);
  return true;
}

void PackedFile::verify(const std::string& path) const {
  const File file = open_copy(path);
  if (file.fd < 0 || !has_head(file.fd, path)) {
    throw plugin::Failure(FACET_NOT_FOUND, path + ": there is no packed copy of these weights");
  }
  ContentHash::Digest written;
  read_at(file.fd, path, head_.size() - written.size(), written.data(), written.size());
  ContentHash hash;
  std::vector<uint8_t> piece(kStepBytes);
  for (uint64_t at = head_.size(); at < bytes_; at += piece.size()) {
    piece.resize(std::min<uint64_t>(kStepBytes, bytes_ - at));
    read_at(file.fd, path, at, piece.data(), piece.size());
    hash.add(piece.data(), piece.size());
  }
  if (hash.digest() == written) return;
  throw plugin::Failure(FACET_MALFORMED,
                        path + ": is damaged: its content is not what was written; remove it");
}

void PackedFile::begin(const std::string& path) {
  part_ = path + ".part";
  File file{::open(part_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600)};
  if (file.fd < 0) io_failed(part_, "cannot be written");
  check_owner(file.fd, part_);
  if (::flock(file.fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) io_failed(part_, "cannot be locked");
    throw plugin::Failure(FACET_EXHAUSTED, part_ + ": is being written by another process");
  }
  // Who had the lock before may have renamed the file that is locked here: it is whole, and not to be
  // touched.
  if (!is_named(file.fd, part_)) {
    throw plugin::Failure(FACET_EXHAUSTED, part_ + ": was written by another process");
  }
  fd_ = std::exchange(file.fd, -1);
  try {
    // What an earlier one left is written anew. The whole place is taken at once, or not at all, where the
    // file system can do that.
    if (::ftruncate(fd_, 0) != 0) io_failed(part_, "cannot be written");
    if (::fallocate(fd_, 0, 0, static_cast<off_t>(bytes_)) != 0 && errno != EOPNOTSUPP) {
      io_failed(part_, "cannot be written");
    }
    written_ = synced_ = 0;
    hash_.reset();
    matrix_ = 0;
    group_ = 0;
    waiting_.assign(head_.size(), 0);  // finish() writes it
  } catch (...) {
    give_up();
    throw;
  }
}

// The first bytes of those that wait.
void PackedFile::write(size_t bytes) {
  write_at(written_, waiting_.data(), bytes);
  ::sync_file_range(fd_, static_cast<off_t>(written_), static_cast<off_t>(bytes), SYNC_FILE_RANGE_WRITE);
  written_ += bytes;
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(bytes));
  // No faster than the disk, so that no step has to wait for much of it.
  if (written_ - synced_ <= 8 * kStepBytes) return;
  ::sync_file_range(fd_, static_cast<off_t>(synced_), kStepBytes,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  synced_ += kStepBytes;
}

void PackedFile::write_at(uint64_t offset, const uint8_t* data, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t count = ::pwrite(fd_, data + done, bytes - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) io_failed(part_, "cannot be written");
    done += static_cast<size_t>(count);
  }
}

// The head comes last: what has none is no copy, under whatever name.
void PackedFile::finish(const std::string& path) {
  if (::fdatasync(fd_) != 0) io_failed(part_, "cannot be written");
  if (!is_named(fd_, part_)) throw plugin::Failure(FACET_IO, part_ + ": was removed while it was written");
  const ContentHash::Digest digest = hash_.digest();
  std::copy(digest.begin(), digest.end(), head_.end() - ssize_t{digest.size()});
  write_at(0, reinterpret_cast<const uint8_t*>(head_.data()), head_.size());
  if (::fdatasync(fd_) != 0) io_failed(part_, "cannot be written");
  if (::rename(part_.c_str(), path.c_str()) != 0) io_failed(part_, "cannot be renamed");
  close();
}

void PackedFile::give_up() {
  if (fd_ < 0) return;
  if (is_named(fd_, part_)) ::unlink(part_.c_str());
  close();
}

void PackedFile::close() {
  ::close(fd_);
  fd_ = -1;
  waiting_ = {};
}

}  // namespace facet::cpu
