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
constexpr auto kAskAgain = std::chrono::milliseconds(100);
// Of a disk, that stays free.
constexpr uint64_t kFreeShare = 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The most recently used first.
struct Copy {
  fs::path path;
  uint64_t bytes;
  fs::file_time_type used;
};

std::vector<Copy> copies_in(const std::string& folder) {
  std::vector<Copy> copies;
  std::error_code failed;
  for (const auto& entry : fs::directory_iterator(folder, failed)) {
    const std::string name = entry.path().filename().string();
    if (!name.ends_with(kEnding) && !name.ends_with(kPartEnding)) continue;
    if (!entry.is_regular_file(failed)) continue;
    copies.push_back({entry.path(), entry.file_size(failed), entry.last_write_time(failed)});
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
  if (const std::string folder = environment("CACHE_DIRECTORY"); !folder.empty()) return folder;
  if (const std::string folder = environment("XDG_CACHE_HOME"); !folder.empty()) return folder + "/facet";
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.cache/facet";
}

PackedWeights::PackedWeights(plugins::Program& program, const model::GgufFile& file,
                             const std::string& backend, const PackingOptions& options)
    : program_(program), model_(file.path()) {
  const std::string identity = file.identity();
  if (program.packed_bytes() == 0 || options.folder.empty() || identity.empty()) return;
  path_ = options.folder + "/" + sha256(identity).substr(0, 32) + "-" + backend + kEnding;
  auto found = program_.pack(path_);
  if (found.ok() && *found) {
    ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);  // used now
    return;
  }
  if (options.make == PackingOptions::Make::kNever) return;
  if (found.ok()) {
    Result<void> room = make_room(options.folder, program.packed_bytes(), options.folder_bytes);
    if (!room.ok()) {
      log::warning("weights of " + model_ + " are not packed: " + room.error().message);
      return;
    }
  }
  if (options.make == PackingOptions::Make::kFirst) {
    make();
  } else {
    thread_ = std::thread([this] {
      ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 19);
      make();
    });
  }
}

PackedWeights::~PackedWeights() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void PackedWeights::make() {
  while (!stopping_) {
    auto made = program_.pack(path_);
    if (made.ok() && *made) {
      log::info("weights of " + model_ + " are packed in " + path_);
      return;
    }
    if (made.ok()) continue;
    if (made.error().code != FACET_EXHAUSTED) {
      log::warning("weights of " + model_ + " are not packed: " + made.error().message);
      return;
    }
    std::this_thread::sleep_for(kAskAgain);  // another process is at it
  }
}

}  // namespace facet::engine
