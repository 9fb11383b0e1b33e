#include "daemon/model_tool/float_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <system_error>

namespace facet::model_tool {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little endian");

Error io_error(const std::string& path) {
  return Error{FACET_IO, path + ": " + std::generic_category().message(errno)};
}

}  // namespace

Result<FloatFile> FloatFile::create(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!fd) return io_error(path);
  return FloatFile(path, std::move(fd));
}

Result<void> FloatFile::write_row(uint64_t number, std::span<const float> row) {
  std::span<const std::byte> bytes = std::as_bytes(row);
  uint64_t offset = number * bytes.size();
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error(path_);
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace facet::model_tool
