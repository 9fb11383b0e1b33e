// The models on offer: names and files. The broker never opens a model; what it knows of one beside
// its file's size is what the engine last said.
//
// A model comes from `[model.NAME] path = ...`, from `--model PATH`, or lies as NAME.gguf in the models
// folder, which is read again when someone asks and it has changed. Of two with one name, the first of these
// wins. A model split over NAME-00001-of-00003.gguf and so on is offered once, as NAME, by its first part.
#pragma once

#include <time.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "daemon/base/clock.h"
#include "daemon/base/result.h"
#include "sdk/protocol/messages.h"

namespace facet::broker {

struct ModelSources {
  std::map<std::string, std::string> named;  // name -> path
  std::vector<std::string> paths;            // each under its file's name, as in the folder
  std::string folder;                        // empty: none
  std::string default_name;                  // empty: the first of `paths`, or else the first by name
};

class Models {
 public:
  explicit Models(const ModelSources& sources);

  struct Found {
    std::string name;
    std::string path;  // absolute
  };
  // Empty: the default. not_found names it and what there is.
  Result<Found> find(const std::string& name);

  // All, by name.
  std::vector<protocol::Model> list();

  // The engine's word on a model; a name that is not on offer is ignored.
  void changed(const protocol::Model& model);
  // The engine is gone, and with it what it had loaded.
  void forget_states();

 private:
  struct Entry {
    std::string path;
    bool from_folder = false;
    protocol::Model known = {};
    uint64_t file_bytes = 0;
    Micros sized = kNever;  // when that was looked at
  };

  void add(const std::string& name, const std::string& path, bool from_folder);
  // Unless it is known to be as it was.
  void read_folder();

  // Long ago, and no number that differences of overflow.
  static constexpr Micros kNever = INT64_MIN / 2;

  std::string folder_;
  Micros folder_read_ = kNever;
  timespec folder_changed_ = {};  // what it said of itself then
  std::string default_name_;
  std::map<std::string, Entry> entries_;
};

}  // namespace facet::broker
