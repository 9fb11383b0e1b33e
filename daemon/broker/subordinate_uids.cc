#include "daemon/broker/subordinate_uids.h"

#include <sys/stat.h>

#include <fstream>

#include "daemon/broker/user_ids.h"

namespace facet::broker {
namespace {

constexpr std::streamsize kMostBytes = 1 << 20;

}  // namespace

uid_t SubordinateUids::owner_of(uid_t uid) {
  struct stat file = {};
  if (::stat(path_.c_str(), &file) != 0) file = {};
  const timespec changed = file.st_mtim;
  if (changed.tv_sec != changed_.tv_sec || changed.tv_nsec != changed_.tv_nsec || file.st_size != bytes_) {
    changed_ = changed;
    bytes_ = file.st_size;
    read();
  }
  for (const Range& range : ranges_) {
    if (uid >= range.first && uid < range.end) return range.owner;
  }
  return uid;
}

void SubordinateUids::read() {
  ranges_.clear();
  std::string text(kMostBytes, '\0');
  std::ifstream file(path_);
  file.read(text.data(), kMostBytes);
  text.resize(static_cast<size_t>(file.gcount()));
  for (std::string_view left = text; !left.empty();) {
    const size_t end = left.find('\n');
    add(left.substr(0, end));
    left.remove_prefix(end == left.npos ? left.size() : end + 1);
  }
}

void SubordinateUids::add(std::string_view line) {
  const size_t first = line.find(':');
  const size_t second = first == line.npos ? line.npos : line.find(':', first + 1);
  if (second == line.npos) return;
  const auto begin = id_of(std::string(line.substr(first + 1, second - first - 1)));
  const auto count = id_of(std::string(line.substr(second + 1)));
  if (!begin || !count) return;
  const auto owner = user_of(std::string(line.substr(0, first)));
  if (owner) ranges_.push_back({*begin, uint64_t{*begin} + *count, *owner});
}

}  // namespace facet::broker
