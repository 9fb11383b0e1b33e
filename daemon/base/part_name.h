// Names of files that one model is split over: STEM-00001-of-00003.gguf, STEM-00002-of-00003.gguf, ...
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace facet {

struct PartName {
  std::string stem;     // what stands before the number, folders included; not empty
  uint32_t number = 0;  // from 1 to `count`
  uint32_t count = 0;

  // The name of another part; `other` from 1 to `count`.
  std::string of(uint32_t other) const;
};

// nullopt if the path does not end like a part's name.
std::optional<PartName> part_name(const std::string& path);

}  // namespace facet
