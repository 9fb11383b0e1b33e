#include "backends/onednn/packed_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <facet/backend.hpp>

#include <cerrno>
#include <cstring>
#include <utility>

#include "backends/onednn/kernels.h"
#include "backends/onednn/packing.h"

namespace facet::cpu {
namespace {

constexpr char kMagic[] = "facet packed weights 1\n";  // the number is that of the layout
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
  head_.resize(round_up(head_.size(), 64));
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
  if (++group_ < matrix.groups) return;
  group_ = 0;
  ++matrix_;
  const uint64_t next = matrix_ < matrices_.size() ? matrices_[matrix_].offset : bytes_;
  waiting_.resize(next - written_);  // zeros between two matrices
}

// False if there is no such file or it is no copy of these weights.
bool PackedFile::map(const std::string& path) {
  const File file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  if (file.fd < 0) {
    if (errno == ENOENT) return false;
    io_failed(path, "cannot be opened");
  }
  struct stat info;
  if (::fstat(file.fd, &info) != 0) io_failed(path, "cannot be read");
  if (!S_ISREG(info.st_mode)) throw plugin::Failure(FACET_IO, path + ": is not a regular file");
  if (static_cast<uint64_t>(info.st_size) != bytes_) return false;
  std::string head(head_.size(), '\0');
  if (::pread(file.fd, head.data(), head.size(), 0) != static_cast<ssize_t>(head.size())) return false;
  if (head != head_) return false;
  void* data = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) io_failed(path, "cannot be mapped");
  ::madvise(data, bytes_, MADV_HUGEPAGE);  // only a hint
  mapped_ = static_cast<const std::byte*>(data);
  return true;
}

void PackedFile::begin(const std::string& path) {
  part_ = path + ".part";
  fd_ = ::open(part_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd_ < 0) io_failed(part_, "cannot be written");
  try {
    // Who had the lock before may have renamed the file that is locked here: it is whole, and not to be
    // touched.
    struct stat locked, named;
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0 || ::fstat(fd_, &locked) != 0 ||
        ::stat(part_.c_str(), &named) != 0 || locked.st_ino != named.st_ino) {
      ::close(fd_);
      fd_ = -1;
      throw plugin::Failure(FACET_EXHAUSTED, part_ + ": is being written by another process");
    }
    // What an earlier one left is written anew. The whole place is taken at once, or not at all.
    if (::ftruncate(fd_, 0) != 0) io_failed(part_, "cannot be written");
    if (const int error = ::posix_fallocate(fd_, 0, static_cast<off_t>(bytes_)); error != 0) {
      errno = error;
      io_failed(part_, "cannot be written");
    }
    written_ = 0;
    matrix_ = 0;
    group_ = 0;
    waiting_.assign(head_.begin(), head_.end());
  } catch (...) {
    give_up();
    throw;
  }
}

// The first bytes of those that wait.
void PackedFile::write(size_t bytes) {
  const uint64_t from = written_;
  for (size_t done = 0; done < bytes;) {
    const ssize_t count =
        ::pwrite(fd_, waiting_.data() + done, bytes - done, static_cast<off_t>(from + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) io_failed(part_, "cannot be written");
    done += static_cast<size_t>(count);
  }
  written_ += bytes;
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(bytes));
  // Begins to go to the disk now, so that the end does not wait for all of it.
  ::sync_file_range(fd_, static_cast<off_t>(from), static_cast<off_t>(written_ - from),
                    SYNC_FILE_RANGE_WRITE);
}

void PackedFile::finish(const std::string& path) {
  if (::fdatasync(fd_) != 0) io_failed(part_, "cannot be written");
  if (::rename(part_.c_str(), path.c_str()) != 0) io_failed(part_, "cannot be renamed");
  ::close(fd_);
  fd_ = -1;
  waiting_ = {};
}

void PackedFile::give_up() {
  if (fd_ < 0) return;
  ::unlink(part_.c_str());
  ::close(fd_);
  fd_ = -1;
  waiting_ = {};
}

}  // namespace facet::cpu
