#include "plugins/host/discovery.h"

#include <sys/auxv.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "daemon/base/log.h"

namespace facet::plugins {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "facet-backend-";
constexpr std::string_view kSuffix = ".so";
constexpr std::string_view kFallbackOrder[] = {"onednn", "reference"};

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= 32 &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-") == std::string_view::npos;
}

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> folders;
  while (!path.empty()) {
    const size_t colon = std::min(path.find(':'), path.size());
    if (colon > 0) folders.emplace_back(path.substr(0, colon));
    path.remove_prefix(std::min(colon + 1, path.size()));
  }
  return folders;
}

Result<Backend> load_named(const std::string& name) {
  if (!is_name(name)) return Error{FACET_INVALID_ARGUMENT, "'" + name + "' is no name of a backend"};
  for (const BackendFile& file : list_backends()) {
    if (file.name == name) return Backend::load(file.path);
  }
  std::string searched;
  for (const std::string& folder : backend_folders()) searched += (searched.empty() ? "" : ", ") + folder;
  return Error{FACET_NOT_FOUND,
               "there is no backend '" + name + "' in " + (searched.empty() ? "any folder" : searched)};
}

// What `open` makes of the named backend, or of the first one in the fallback order that it succeeds with.
template <typename T, typename Open>
Result<T> first_that_works(const std::string& name, const Open& open) {
  if (!name.empty()) return open(name);
  std::string reasons;
  for (std::string_view candidate : kFallbackOrder) {
    Result<T> opened = open(std::string(candidate));
    if (opened.ok()) return opened;
    log::warning(opened.error().message);
    reasons += (reasons.empty() ? "" : "; ") + opened.error().message;
  }
  return Error{FACET_NOT_FOUND, "no backend works: " + reasons};
}

}  // namespace

std::string backend_name_of(const std::string& path) {
  const std::string file = fs::path(path).filename();
  if (!file.starts_with(kPrefix) || !file.ends_with(kSuffix)) return {};
  if (file.size() <= kPrefix.size() + kSuffix.size()) return {};
  const std::string name = file.substr(kPrefix.size(), file.size() - kPrefix.size() - kSuffix.size());
  return is_name(name) ? name : std::string();
}

std::vector<std::string> backend_folders() {
  const char* path = std::getenv("FACET_PLUGIN_PATH");
  if (path != nullptr && *path != '\0' && getauxval(AT_SECURE) == 0) return split_path(path);

  std::error_code error;
  const fs::path prefix = fs::read_symlink("/proc/self/exe", error).parent_path().parent_path();
  for (const fs::path& folder : {prefix / "lib/facet/backends", prefix / FACET_LIBDIR "/facet/backends",
                                 fs::path(FACET_FULL_LIBDIR "/facet/backends")}) {
    if (fs::is_directory(folder, error)) return {folder};
  }
  return {};
}

std::vector<BackendFile> list_backends() {
  std::vector<BackendFile> found;
  for (const std::string& folder : backend_folders()) {
    std::error_code error;
    fs::directory_iterator entries(folder, error), end;
    for (; !error && entries != end; entries.increment(error)) {
      const std::string path = entries->path();
      const std::string name = backend_name_of(path);
      if (name.empty()) continue;
      auto same = [&](const BackendFile& file) { return file.name == name; };
      if (std::none_of(found.begin(), found.end(), same)) found.push_back({name, path});
    }
  }
  std::sort(found.begin(), found.end(),
            [](const BackendFile& a, const BackendFile& b) { return a.name < b.name; });
  return found;
}

Result<Backend> open_backend(const std::string& name) {
  return first_that_works<Backend>(name, load_named);
}

Result<Device> open_device(const std::string& name, uint32_t threads) {
  return first_that_works<Device>(name, [threads](const std::string& candidate) -> Result<Device> {
    FACET_TRY(Backend backend, load_named(candidate));
    if (backend.device_count() == 0) {
      return Error{FACET_NOT_FOUND, backend.path() + ": it finds no device here"};
    }
    return backend.open(0, threads);
  });
}

}  // namespace facet::plugins
