// Packed weights: the copy of a model's weights that a backend makes for itself, in a layout that it reads
// faster (program_pack in facet/backend.h), in a file of a folder whose size is bounded.
//
// A model's copy is found by the name of its file, which stands for the contents of the model's files:
// device, inode, size, time of the last change and a hash of the header of each. So a model that is replaced
// gets another copy, and the old one is the first to go when room is needed: the copies that were not used
// for the longest time are removed, when one is made and when one is found. What another program is writing
// stays. All files of the folder may be removed at any time; nobody else may be able to write there.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "daemon/base/result.h"
#include "daemon/model/gguf.h"
#include "plugins/host/backend.h"

namespace facet::engine {

struct PackingOptions {
  enum class Make : uint8_t {
    kNever,       // a copy that is there is used
    kBackground,  // one that is not is made while the program is used, which then goes over to it
    kFirst,       // or before it is used, unless another process is making it
  };
  std::string folder;                  // is made if need be; empty: no copies
  uint64_t folder_bytes = 1ull << 36;  // all copies together take at most this much
  Make make = Make::kNever;
};

// The folder that `setting` means: "none", a path, or "auto": systemd's cache folder, else facet in the
// user's
// ($XDG_CACHE_HOME or ~/.cache), none without either.
std::string packed_weights_folder(const std::string& setting);

// The file in `folder` where the copy of a model is that `backend` makes; empty if the system does not tell
// the model's files apart.
std::string packed_weights_path(const std::string& folder, const model::GgufFile& file,
                                const std::string& backend);

class PackedWeights {
 public:
  // `program` and `file` outlive this. What fails is logged, and costs speed alone.
  PackedWeights(plugins::Program& program, const model::GgufFile& file, const std::string& backend,
                const PackingOptions& options);
  // Gives up what is not finished.
  ~PackedWeights();
  PackedWeights(const PackedWeights&) = delete;
  PackedWeights& operator=(const PackedWeights&) = delete;

 private:
  void start(const model::GgufFile& file, const std::string& backend);
  void make();
  void not_packed(const std::string& why) const;

  plugins::Program& program_;
  std::string model_, path_;
  PackingOptions options_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace facet::engine
