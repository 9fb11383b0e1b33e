// Uids that are given to users besides their own (subuid(5)).
//
// A user who maps them into a user namespace runs processes under them: to the kernel tens of thousands of
// users, to facetd one, or each of them would have its own quotas and share.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace facet::broker {

class SubordinateUids {
 public:
  // Lines of NAME:FIRST:COUNT, NAME a login or a uid; others are passed over. No file: no such uids.
  explicit SubordinateUids(std::string path = "/etc/subuid") : path_(std::move(path)) {}

  // Whose subordinate uid this is, else the uid itself. Reads the file if it has changed, at most its first
  // MiB.
  uid_t owner_of(uid_t uid);

 private:
  struct Range {
    uint64_t first, end;
    uid_t owner;
  };
  void read();
  void add(std::string_view line);

  std::string path_;
  timespec changed_ = {};  // the file, when it was read last
  off_t bytes_ = 0;
  std::vector<Range> ranges_;
};

}  // namespace facet::broker
