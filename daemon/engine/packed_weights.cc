#include "daemon/engine/packed_weights.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <vector>

#include "daemon/base/log.h"
#include "daemon/base/sha256.h"
#include "daemon/base/unique_fd.h"

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

// Those in the folder of the copy at `path`, without that one and its part; the longest unused first.
std::vector<Copy> copies_beside(const fs::path& path) {
  std::vector<Copy> copies;
  std::error_code failed;
  for (fs::directory_iterator at(path.parent_path(), failed), end; !failed && at != end;
       at.increment(failed)) {
    const std::string name = at->path().filename().string();
    if (!name.ends_with(kEnding) && !name.ends_with(kPartEnding)) continue;
    if (name.starts_with(path.filename().string())) continue;
    std::error_code gone;
    const bool regular = at->is_regular_file(gone);
    const Copy copy{at->path(), regular ? at->file_size(gone) : 0, at->last_write_time(gone)};
    if (regular && !gone) copies.push_back(copy);
  }
  std::sort(copies.begin(), copies.end(), [](const Copy& a, const Copy& b) { return a.used < b.used; });
  return copies;
}

// One that another program is writing stays: it holds the lock of its part.
bool remove_copy(const fs::path& path) {
  UniqueFd part;
  if (path.string().ends_with(kPartEnding)) {
    part.reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!part || ::flock(part.get(), LOCK_EX | LOCK_NB) != 0) return false;
  }
  std::error_code failed;
  return fs::remove(path, failed);
}

// Removes copies beside the one at `path`, the longest unused first, until it has room for its `bytes` within
// `most`, which is at least as many. Gives how many the others take then: more than the rest where some are
// being written.
uint64_t trim(const fs::path& path, uint64_t bytes, uint64_t most) {
  const std::vector<Copy> copies = copies_beside(path);
  uint64_t others = 0;
  for (const Copy& copy : copies) others += copy.bytes;
  for (const Copy& copy : copies) {
    if (others <= most - bytes) break;
    if (remove_copy(copy.path)) others -= copy.bytes;
  }
  return others;
}

// Trims the folder, and says whether bound and disk have room for the copy.
Result<void> make_room(const fs::path& path, uint64_t bytes, uint64_t most) {
  const std::string folder = path.parent_path().string(),
                    copy = "a copy of " + std::to_string(bytes) + " bytes";
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) return Error{FACET_IO, folder + ": " + failed.message()};
  const uint64_t others = trim(path, bytes > most ? 0 : bytes, most);
  if (bytes > most || others > most - bytes) {
    return Error{FACET_EXHAUSTED, copy + " is more than packed-weights-bytes allows, " +
                                      std::to_string(most) + ", beside " + std::to_string(others) +
                                      " of others"};
  }
  const fs::space_info space = fs::space(folder, failed);
  if (failed) return Error{FACET_IO, folder + ": " + failed.message()};
  if (space.available < bytes || space.available - bytes < space.capacity / kFreeShare) {
    return Error{FACET_EXHAUSTED,
                 folder + ": " + copy + " would leave less than a twentieth of the disk free"};
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

std::string packed_weights_path(const std::string& folder, const model::GgufFile& file,
                                const std::string& backend) {
  std::string identity = file.identity();
  if (identity.empty()) return "";
  for (std::span<const std::byte> header : file.headers()) {
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(header.data(), header.size()));
    identity.append(reinterpret_cast<const char*>(hash.digest), sizeof hash.digest);
  }
  return folder + "/" + sha256(identity).substr(0, 32) + "-" + backend + kEnding;
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
  if (program_.packed_bytes() == 0 || options_.folder.empty()) return;
  path_ = packed_weights_path(options_.folder, file, backend);
  if (path_.empty()) return;
  auto found = program_.pack(path_);
  if (!found.ok()) return not_packed(found.error().message);
  if (*found) {
    ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);  // used now
    if (options_.make != PackingOptions::Make::kNever) {
      trim(path_, std::min(program_.packed_bytes(), options_.folder_bytes), options_.folder_bytes);
    }
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
      Result<void> room = make_room(path_, program_.packed_bytes(), options_.folder_bytes);
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
