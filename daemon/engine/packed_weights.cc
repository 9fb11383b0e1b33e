#include "daemon/engine/packed_weights.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "daemon/base/log.h"
#include "daemon/base/sha256.h"

namespace facet::engine {
namespace {

namespace fs = std::filesystem;

constexpr char kEnding[] = ".packed";
constexpr char kPartEnding[] = ".packed.part";
constexpr auto kAskAgain = std::chrono::milliseconds(200);
// Of a disk, that stays free.
constexpr uint64_t kFreeShare = 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct Copy {
  fs::path path;
  uint64_t bytes;
  fs::file_time_type used;
};

// The most recently used first.
std::vector<Copy> copies_in(const std::string& folder) {
  std::vector<Copy> copies;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    const std::string name = at->path().filename().string();
    std::error_code gone;
    if (!name.ends_with(kEnding) && !name.ends_with(kPartEnding)) continue;
    if (!at->is_regular_file(gone)) continue;
    copies.push_back({at->path(), at->file_size(gone), at->last_write_time(gone)});
  }
  std::sort(copies.begin(), copies.end(), [](const Copy& a, const Copy& b) { return a.used > b.used; });
  return copies;
}

// Removes copies until one of `bytes` more stays within `most`, and says whether the disk has room for it.
Result<void> make_room(const std::string& folder, uint64_t bytes, uint64_t most) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return Error{FACET_IO, folder + ": " + failed.message()};
  if (bytes > most) {
    return Error{FACET_EXHAUSTED, "a copy of " + std::to_string(bytes) +
                                      " bytes is more than packed-weights-bytes allows, " +
                                      std::to_string(most)};
  }
  uint64_t kept = bytes;
  for (const Copy& copy : copies_in(folder)) {
    kept += std::min(copy.bytes, most);
    if (kept > most) fs::remove(copy.path, failed);
  }
  const fs::space_info space = fs::space(folder, failed);
  if (failed) return Error{FACET_IO, folder + ": " + failed.message()};
  if (space.available < bytes || space.available - bytes < space.capacity / kFreeShare) {
    return Error{FACET_EXHAUSTED, folder + ": a copy of " + std::to_string(bytes) +
                                      " bytes would leave less than a twentieth of the disk free"};
  }
  return {};
}

}  // namespace

std::string packed_weights_folder(const std::string& setting) {
  if (setting == "none") return "";
  if (setting != "auto") return setting;
  // systemd separates several by colons.
  const std::string given = environment("CACHE_DIRECTORY");
  if (!given.empty()) return given.substr(0, given.find(':'));
  if (const std::string folder = environment("XDG_CACHE_HOME"); !folder.empty()) return folder + "/facet";
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.cache/facet";
}

PackedWeights::PackedWeights(plugins::Program& program, const model::GgufFile& file,
                             const std::string& backend, const PackingOptions& options)
    : program_(program), model_(file.path()), options_(options) {
  try {
    start(file, backend);
  } catch (const std::exception& error) {  // no memory or no thread
    not_packed(error.what());
  }
}

void PackedWeights::start(const model::GgufFile& file, const std::string& backend) {
  const std::string identity = file.identity();
  if (program_.packed_bytes() == 0 || options_.folder.empty() || identity.empty()) return;
  path_ = options_.folder + "/" + sha256(identity).substr(0, 32) + "-" + backend + kEnding;
  auto found = program_.pack(path_);
  if (!found.ok()) return not_packed(found.error().message);
  if (*found) {
    ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);  // used now
    return;
  }
  if (options_.make == PackingOptions::Make::kNever) return;
  if (options_.make == PackingOptions::Make::kFirst) return make();
  thread_ = std::thread([this] {
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);
    make();
  });
}

void PackedWeights::not_packed(const std::string& why) const {
  log::warning("weights of " + model_ + " are not packed: " + why);
}

PackedWeights::~PackedWeights() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void PackedWeights::make() try {
  bool has_room = false;
  while (!stopping_) {
    if (!has_room) {
      Result<void> room = make_room(options_.folder, program_.packed_bytes(), options_.folder_bytes);
      if (!room.ok()) return not_packed(room.error().message);
      has_room = true;
    }
    auto made = program_.pack(path_);
    if (made.ok() && *made) {
      log::info("weights of " + model_ + " are packed in " + path_);
      return;
    }
    if (made.ok()) continue;
    const bool by_another = made.error().code == FACET_EXHAUSTED;
    if (!by_another || options_.make == PackingOptions::Make::kFirst) return not_packed(made.error().message);
    has_room = false;
    std::this_thread::sleep_for(kAskAgain);
  }
} catch (const std::exception& error) {
  not_packed(error.what());
}

}  // namespace facet::engine
