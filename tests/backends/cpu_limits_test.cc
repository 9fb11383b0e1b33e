#include "backends/onednn/cpu_limits.h"

#include <doctest/doctest.h>
#include <sched.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

using facet::cpu::affinity;
using facet::cpu::CgroupPlaces;
using facet::cpu::Quota;
using facet::cpu::read_quota;
using facet::cpu::within_quota;

namespace {

namespace fs = std::filesystem;

// A made-up tree of groups. The process is in group /a/b/c unless `own` says otherwise.
class Tree {
 public:
  Tree() {
    char name[] = "/tmp/facet-test-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    folder_ = name;
    fs::create_directories(folder_ / "tree/a/b/c");
    own("0::/a/b/c\n");
  }
  ~Tree() { fs::remove_all(folder_); }
  Tree(const Tree&) = delete;

  void own(const std::string& text) const { write(folder_ / "own", text); }
  void quota(const std::string& group, const std::string& text) const {
    write(folder_ / "tree" / group / "cpu.max", text);
  }
  void stat(const std::string& group, const std::string& text) const {
    write(folder_ / "tree" / group / "cpu.stat", text);
  }
  uint32_t allowed(uint32_t cpus) const { return within_quota(cpus, read_quota(places())); }
  CgroupPlaces places() const { return {folder_ / "own", folder_ / "tree"}; }
  const fs::path& folder() const { return folder_; }

 private:
  static void write(const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }

  fs::path folder_;
};

}  // namespace

TEST_CASE("a group's quota limits the CPUs, rounded up") {
  Tree tree;
  CHECK(tree.allowed(8) == 8);
  for (auto [text, cpus] : {std::pair<const char*, uint32_t>{"max 100000\n", 8},
                            {"200000 100000\n", 2},
                            {"200000 100000", 2},
                            {"200001 100000\n", 3},
                            {"150000 100000\n", 2},
                            {"1000 100000\n", 1},
                            {"1 18446744073709551615\n", 1},
                            {"800000 100000\n", 8},
                            {"900000 100000\n", 8},
                            {"18446744073709551615 1\n", 8},
                            {"25000 10000\n", 3}}) {
    CAPTURE(text);
    tree.quota("a/b/c", text);
    CHECK(tree.allowed(8) == cpus);
  }
}

TEST_CASE("of a group and those around it, the smallest quota counts") {
  Tree tree;
  tree.quota("a/b/c", "500000 100000\n");
  tree.quota("a/b", "max 100000\n");
  CHECK(tree.allowed(8) == 5);
  tree.quota("a", "300000 100000\n");
  CHECK(tree.allowed(8) == 3);
  tree.quota("", "200000 100000\n");
  CHECK(tree.allowed(8) == 2);
  CHECK(tree.allowed(1) == 1);
}

TEST_CASE("other groups' quotas do not count") {
  Tree tree;
  fs::create_directories(tree.folder() / "tree/a/b/c/d");
  fs::create_directories(tree.folder() / "tree/a/other");
  tree.quota("a/b/c/d", "100000 100000\n");
  tree.quota("a/other", "100000 100000\n");
  CHECK(tree.allowed(4) == 4);
  tree.own("0::/a\n");
  tree.quota("a/b/c", "100000 100000\n");
  CHECK(tree.allowed(4) == 4);
}

TEST_CASE("a process in the root, as a container sees itself, has the root's quota") {
  Tree tree;
  tree.own("0::/\n");
  tree.quota("", "200000 100000\n");
  tree.quota("a", "100000 100000\n");
  CHECK(tree.allowed(4) == 2);
}

TEST_CASE("the line of version 2 is found among others, with and without its end") {
  Tree tree;
  tree.quota("a/b/c", "100000 100000\n");
  for (const char* text :
       {"4:memory:/x\n1:cpu,cpuacct:/y\n0::/a/b/c\n", "0::/a/b/c", "\n\n0::/a/b/c\n5:x:/\n"}) {
    CAPTURE(text);
    tree.own(text);
    CHECK(tree.allowed(4) == 1);
  }
}

TEST_CASE("what is no quota limits nothing") {
  Tree tree;
  for (const std::string& text : {std::string(),
                                  std::string("\n"),
                                  std::string("max"),
                                  std::string("100000"),
                                  std::string("0 100000\n"),
                                  std::string("100000 0\n"),
                                  std::string("-1 100000\n"),
                                  std::string("+1 100000\n"),
                                  std::string("1e5 100000\n"),
                                  std::string("100000  100000\n"),
                                  std::string(" 100000 100000\n"),
                                  std::string("100000 100000 1\n"),
                                  std::string("100000 100000\n\n"),
                                  std::string("18446744073709551616 100000\n"),
                                  std::string("100000 max\n"),
                                  std::string("1 1\0", 4),
                                  std::string("100000\t100000\n"),
                                  std::string(60, '0') + "1 100000\n",
                                  std::string(1 << 20, '1'),
                                  std::string("\xff\xfe\x00", 3)}) {
    CAPTURE(text.substr(0, 40));
    tree.quota("a/b/c", text);
    CHECK(tree.allowed(4) == 4);
  }
  fs::remove(tree.folder() / "tree/a/b/c/cpu.max");
  fs::create_directory(tree.folder() / "tree/a/b/c/cpu.max");
  CHECK(tree.allowed(4) == 4);
  tree.quota("a", "300000 100000\n");  // still counts
  CHECK(tree.allowed(4) == 3);
}

TEST_CASE("a group that cannot be found limits nothing, the root still does") {
  Tree tree;
  tree.quota("a/b/c", "100000 100000\n");
  tree.quota("", "300000 100000\n");
  std::ofstream(tree.folder() / "cpu.max") << "100000 100000\n";  // outside of the tree
  for (const std::string& text :
       {std::string(), std::string("nonsense"), std::string("0::"), std::string("0::a/b/c\n"),
        std::string("0:cpu:/a/b/c\n"), std::string("10::/a/b/c\n"), std::string("0::/..\n"),
        std::string("0::/../tree/a/b/c\n"), std::string("0::/a/../..\n"),
        "0::/" + std::string(5000, 'a') + "\n", "0::/" + std::string(1 << 20, '/'),
        std::string("0::/gone/with/wind\n"), std::string("0::/a\0/b\n", 9)}) {
    CAPTURE(text.substr(0, 40));
    tree.own(text);
    CHECK(tree.allowed(4) == 3);
  }
  fs::remove(tree.folder() / "own");
  CHECK(tree.allowed(4) == 3);
  CHECK(within_quota(4, read_quota({"/nowhere/own", "/nowhere/tree"})) == 4);
}

TEST_CASE("no thread is none too few") {
  Tree tree;
  CHECK(tree.allowed(0) == 1);
}

TEST_CASE("whole CPUs are the quota rounded down, of the smallest") {
  Tree tree;
  CHECK(read_quota(tree.places()).whole == Quota::kNone);
  for (auto [text, whole] : {std::pair<const char*, uint64_t>{"200000 100000\n", 2},
                             {"299999 100000\n", 2},
                             {"99999 100000\n", 0},
                             {"max 100000\n", Quota::kNone}}) {
    CAPTURE(text);
    tree.quota("a/b/c", text);
    CHECK(read_quota(tree.places()).whole == whole);
  }
  tree.quota("a", "350000 100000\n");
  tree.quota("a/b/c", "450000 100000\n");
  CHECK(read_quota(tree.places()).whole == 3);
}

TEST_CASE("how often the process was throttled is the sum over its group and those around it") {
  Tree tree;
  CHECK(read_quota(tree.places()).throttled == 0);
  tree.stat("a/b/c", "usage_usec 50\nnr_periods 9\nnr_throttled 3\nthrottled_usec 700\nnr_bursts 0\n");
  CHECK(read_quota(tree.places()).throttled == 3);
  tree.stat("a", "nr_throttled 40");
  tree.stat("", "usage_usec 123\n");
  fs::create_directories(tree.folder() / "tree/a/other");
  tree.stat("a/other", "nr_throttled 500\n");
  CHECK(read_quota(tree.places()).throttled == 43);
  for (const std::string& text :
       {std::string(), std::string("\n\n\n"), std::string("nr_throttled"), std::string("nr_throttled \n"),
        std::string("nr_throttled -1\n"), std::string("nr_throttled 1 2\n"), std::string("nr_throttled\t1\n"),
        std::string("nr_throttled 18446744073709551616\n"), std::string("xnr_throttled 1\n"),
        std::string("nr_throttled 1\0\n", 16), "nr_throttled 1\n" + std::string(1 << 20, '\n')}) {
    CAPTURE(text.substr(0, 40));
    tree.stat("a/b/c", text);
    CHECK(read_quota(tree.places()).throttled == 40);
  }
}

TEST_CASE("the affinity of the thread that asks counts") {
  std::thread([] {
    cpu_set_t all, one;
    REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    CHECK(affinity().size() == static_cast<size_t>(CPU_COUNT(&all)));
    for (const uint32_t cpu : affinity()) CHECK(CPU_ISSET(cpu, &all));
    const uint32_t last = affinity().back();
    CPU_ZERO(&one);
    CPU_SET(last, &one);
    REQUIRE(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(affinity() == std::vector<uint32_t>{last});
  }).join();
}
