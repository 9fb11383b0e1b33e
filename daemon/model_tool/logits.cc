#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>

#include "daemon/base/unique_fd.h"
#include "daemon/model_tool/commands.h"

namespace facet::model_tool {
namespace {

static_assert(std::endian::native == std::endian::little, "the file is little endian");

Error io_error(const std::string& path) {
  return Error{FACET_IO, path + ": " + std::generic_category().message(errno)};
}

Result<void> write_row(int fd, const std::string& path, std::span<const float> row, uint64_t number) {
  std::span<const std::byte> bytes = std::as_bytes(row);
  uint64_t offset = number * bytes.size();
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return io_error(path);
    offset += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

Result<void> logits(const LogitsOptions& options) {
  FACET_TRY(auto model, model::Model::load(options.file));
  std::vector<Ids> prompts;
  std::vector<uint64_t> first_row;  // in the file, of each prompt
  uint64_t rows = 0;
  size_t longest = 0;
  for (const std::string& text : options.ids) {
    FACET_TRY(Ids ids, parse_ids(text));
    FACET_CHECK(check_tokens(*model, ids));
    longest = std::max(longest, ids.size());
    first_row.push_back(rows);
    rows += ids.size();
    prompts.push_back(std::move(ids));
  }
  EvaluationSize size;
  size.sequences = static_cast<uint32_t>(prompts.size());
  size.positions = static_cast<uint32_t>(longest);
  size.chunk = options.chunk == 0 ? size.positions : std::min(options.chunk, size.positions);
  size.rows = size.selected = uint64_t{size.sequences} * size.chunk;
  FACET_TRY(auto evaluation, Evaluation::create(std::move(model), options.compute, size));

  UniqueFd file(open(options.out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file) return io_error(options.out);
  return evaluate_all(*evaluation, prompts, size.chunk, 0,
                      [&](uint32_t sequence, uint32_t position, std::span<const float> row) {
                        return write_row(file.get(), options.out, row, first_row[sequence] + position);
                      });
}

}  // namespace facet::model_tool
