#include "daemon/broker/models.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

#include "daemon/base/log.h"
#include "daemon/base/part_name.h"
#include "daemon/link/codec.h"
#include "sdk/protocol/limits.h"
#include "sdk/protocol/utf8.h"

namespace facet::broker {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSuffix = ".gguf";
// What the disk says is looked at that often at most, and the folder at once when it has changed: whoever
// asks without pause does not keep facetd at it.
constexpr Micros kLookAgain = 1'000'000;
// Two changes so near to each other may have one time.
constexpr Micros kCoarse = 20'000;

Micros micros_of(const timespec& time) {
  return Micros{time.tv_sec} * 1'000'000 + time.tv_nsec / 1000;
}

std::string absolute(const std::string& path) {
  std::error_code failed;
  const fs::path full = fs::absolute(path, failed);
  return failed ? path : full.lexically_normal().string();
}

std::string name_of_file(const fs::path& path) {
  if (const auto part = part_name(path.string())) return fs::path(part->stem).filename().string();
  return path.extension() == kSuffix ? path.stem().string() : path.filename().string();
}

// What a message can carry.
bool is_fit(const std::string& name, const std::string& path) {
  return !name.empty() && name.size() <= protocol::kMaxNameBytes && protocol::is_utf8(name) &&
         path.size() <= link::kMaxPathBytes && protocol::is_utf8(path);
}

uint64_t size_of_file(const std::string& path) {
  std::error_code failed;
  const uint64_t size = fs::file_size(path, failed);
  return failed ? 0 : size;
}

// Of all parts; those beyond kMostSized, whatever a name claims, are not looked for.
uint64_t size_of(const std::string& path) {
  constexpr uint32_t kMostSized = 1024;
  const auto part = part_name(path);
  if (!part) return size_of_file(path);
  uint64_t size = 0;
  for (uint32_t i = 1; i <= std::min(part->count, kMostSized); ++i) size += size_of_file(part->of(i));
  return size;
}

bool is_later_part(const fs::path& path) {
  const auto part = part_name(path.string());
  return part && part->number != 1;
}

}  // namespace

Models::Models(const ModelSources& sources) : folder_(sources.folder), default_name_(sources.default_name) {
  for (const auto& [name, path] : sources.named) add(name, path, false);
  for (const auto& path : sources.paths) {
    add(name_of_file(path), path, false);
    if (default_name_.empty()) default_name_ = name_of_file(path);
  }
}

void Models::add(const std::string& name, const std::string& path, bool from_folder) {
  const std::string full = absolute(path);
  if (entries_.contains(name) || entries_.size() >= protocol::kMaxModels) return;
  if (!is_fit(name, full)) {
    if (!from_folder)
      log::warning("a model's name or path is too long or not UTF-8, it is left out: " + full);
    return;
  }
  Entry entry{.path = full, .from_folder = from_folder};
  entry.known.name = name;
  entries_.emplace(name, std::move(entry));
}

void Models::read_folder() {
  if (folder_.empty()) return;
  struct stat folder = {};
  if (::stat(folder_.c_str(), &folder) != 0) folder.st_mtim = {};
  const Micros changed = micros_of(folder.st_mtim);
  if (changed == micros_of(folder_changed_) && now_micros() - folder_read_ < kLookAgain) return;
  timespec now = {};
  ::clock_gettime(CLOCK_REALTIME, &now);
  folder_changed_ = folder.st_mtim;
  folder_read_ = micros_of(now) - changed < kCoarse ? kNever : now_micros();
  std::error_code failed;
  std::erase_if(entries_, [](const auto& item) {
    std::error_code gone;
    return item.second.from_folder && !fs::exists(item.second.path, gone);
  });
  for (fs::directory_iterator file(folder_, failed), end; !failed && file != end; file.increment(failed)) {
    std::error_code skipped;
    if (file->path().extension() != kSuffix || !file->is_regular_file(skipped)) continue;
    if (is_later_part(file->path())) continue;
    add(name_of_file(file->path()), file->path().string(), true);
  }
}

Result<Models::Found> Models::find(const std::string& name) {
  const auto at = [this](const std::string& wanted) {
    if (!wanted.empty()) return entries_.find(wanted);
    return default_name_.empty() ? entries_.begin() : entries_.find(default_name_);
  };
  auto found = at(name);
  if (found == entries_.end() || found->second.from_folder || (name.empty() && default_name_.empty())) {
    read_folder();
    found = at(name);
  }
  if (found != entries_.end()) return Found{found->first, found->second.path};

  if (entries_.empty()) return Error{FACET_NOT_FOUND, "there is no model: the daemon offers none"};
  std::string there;
  for (const auto& [other, entry] : entries_) there += (there.empty() ? "" : ", ") + other;
  const std::string& wanted = name.empty() ? default_name_ : name;
  return Error{FACET_NOT_FOUND, "there is no model '" + wanted + "'; there is: " + there};
}

std::vector<protocol::Model> Models::list() {
  read_folder();
  std::vector<protocol::Model> all;
  for (auto& [name, entry] : entries_) {
    if (const Micros now = now_micros(); now - entry.sized > kLookAgain) {
      entry.file_bytes = size_of(entry.path);
      entry.sized = now;
    }
    all.push_back(entry.known);
    all.back().file_bytes = entry.file_bytes;
  }
  return all;
}

void Models::changed(const protocol::Model& model) {
  if (auto entry = entries_.find(model.name); entry != entries_.end()) entry->second.known = model;
}

void Models::forget_states() {
  for (auto& [name, entry] : entries_) {
    entry.known = {};
    entry.known.name = name;
  }
}

}  // namespace facet::broker
