#include "backends/onednn/cpu_kinds.h"

#include <doctest/doctest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "backends/onednn/cpu_limits.h"

using facet::cpu::affinity;
using facet::cpu::big_cpus;
using facet::cpu::keep_to;

namespace {

namespace fs = std::filesystem;
using Cpus = std::vector<uint32_t>;

// A made-up /sys/devices.
class Devices {
 public:
  Devices() {
    char name[] = "/tmp/facet-test-XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    folder_ = name;
  }
  ~Devices() { fs::remove_all(folder_); }
  Devices(const Devices&) = delete;

  void capacity(uint32_t cpu, const std::string& text) const {
    write("system/cpu/cpu" + std::to_string(cpu) + "/cpu_capacity", text);
  }
  void capacities(const std::vector<uint32_t>& all) const {
    for (uint32_t cpu = 0; cpu < all.size(); ++cpu) capacity(cpu, std::to_string(all[cpu]) + "\n");
  }
  void kinds(const std::string& cores, const std::string& atoms) const {
    write("cpu_core/cpus", cores);
    write("cpu_atom/cpus", atoms);
  }
  Cpus big(const Cpus& cpus) const { return big_cpus(cpus, folder_); }
  const fs::path& folder() const { return folder_; }

 private:
  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((folder_ / path).parent_path());
    std::ofstream(folder_ / path, std::ios::binary) << text;
  }

  fs::path folder_;
};

Cpus first(uint32_t count) {
  Cpus all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

}  // namespace

TEST_CASE("where nothing is told all CPUs are big") {
  Devices devices;
  CHECK(devices.big({0, 1, 5}) == Cpus{0, 1, 5});
  CHECK(big_cpus({3}, "/nowhere") == Cpus{3});
  CHECK(devices.big({}) == Cpus{});
}

TEST_CASE("capacities that no kernel tells are not believed") {
  for (const std::string nonsense : {"1025", "4294967295", "18446744073709551615", "0"}) {
    Devices devices;
    devices.capacities({1000, 1000});
    devices.capacity(1, nonsense + "\n");
    CHECK(devices.big({0, 1}) == Cpus{0, 1});
  }
}

TEST_CASE("CPUs of one capacity are all big") {
  Devices devices;
  devices.capacities({1024, 1024, 1024, 1024});
  CHECK(devices.big(first(4)) == first(4));
  devices.capacities({160, 160, 160, 160});
  CHECK(devices.big(first(4)) == first(4));
}

TEST_CASE("a CPU of less than half of the greatest capacity is little") {
  Devices devices;
  devices.capacities({250, 250, 511, 512, 760, 1024});
  CHECK(devices.big(first(6)) == Cpus{3, 4, 5});
  devices.capacities({1023, 511, 512});
  CHECK(devices.big(first(3)) == Cpus{0, 2});
}

TEST_CASE("only the CPUs in question are compared") {
  Devices devices;
  devices.capacities({250, 250, 400, 1024});
  CHECK(devices.big({0, 1, 2}) == Cpus{0, 1, 2});
  CHECK(devices.big({1}) == Cpus{1});
  CHECK(devices.big({1, 3}) == Cpus{3});
}

TEST_CASE("a capacity that is not one leaves all big") {
  Devices devices;
  devices.capacities({250, 1024});
  REQUIRE(devices.big(first(2)) == Cpus{1});
  for (const std::string& text :
       {std::string(), std::string("\n"), std::string("0\n"), std::string("-1024\n"), std::string("0x400\n"),
        std::string("1024 1024\n"), std::string("1024\n\n"), std::string("18446744073709551616\n"),
        std::string("1024\0", 5), std::string(40, '0') + "1024\n", std::string(1 << 20, '1')}) {
    CAPTURE(text.substr(0, 40));
    devices.capacity(1, text);
    CHECK(devices.big(first(2)) == first(2));
  }
  fs::remove_all(devices.folder() / "system/cpu/cpu1");
  CHECK(devices.big(first(2)) == first(2));
  fs::create_directories(devices.folder() / "system/cpu/cpu1/cpu_capacity");
  CHECK(devices.big(first(2)) == first(2));
}

TEST_CASE("without capacities atoms beside cores are little") {
  Devices devices;
  devices.kinds("0-3,8\n", "4-7,9\n");
  CHECK(devices.big(first(10)) == Cpus{0, 1, 2, 3, 8});
  CHECK(devices.big({3, 4}) == Cpus{3});
  CHECK(devices.big({4, 5, 9}) == Cpus{4, 5, 9});
  CHECK(devices.big({0, 8}) == Cpus{0, 8});
  devices.kinds("0", "65535");
  CHECK(devices.big({0, 65535}) == Cpus{0});
}

TEST_CASE("capacities count before kinds") {
  Devices devices;
  devices.kinds("0-1\n", "2-3\n");
  devices.capacities({1024, 1024, 600, 600});
  CHECK(devices.big(first(4)) == first(4));
  fs::remove_all(devices.folder() / "system/cpu/cpu3");
  CHECK(devices.big(first(4)) == Cpus{0, 1});
}

TEST_CASE("lists that are none, or do not divide the CPUs, leave all big") {
  Devices devices;
  devices.kinds("0-1\n", "2-3\n");
  REQUIRE(devices.big(first(4)) == Cpus{0, 1});
  for (const std::string& atoms :
       {std::string(), std::string("\n"), std::string(","), std::string("2-3,\n"), std::string(",2-3\n"),
        std::string("2-\n"), std::string("-3\n"), std::string("3-2\n"), std::string("2-3-4\n"),
        std::string("2 3\n"), std::string("2-3\n\n"), std::string("all\n"), std::string("2-65536\n"),
        std::string("2-18446744073709551616\n"), std::string("2-3\0", 4), std::string("2\n3\n"),
        std::string("2-3") + std::string(1 << 20, ','), std::string("1-3\n"), std::string("2\n")}) {
    CAPTURE(atoms.substr(0, 40));
    devices.kinds("0-1\n", atoms);
    CHECK(devices.big(first(4)) == first(4));
  }
  fs::remove_all(devices.folder() / "cpu_atom");
  CHECK(devices.big(first(4)) == first(4));
  devices.kinds("0-1\n", "2-3\n");
  CHECK(devices.big({0, 2, 70000}) == Cpus{0, 2, 70000});
}

TEST_CASE("a thread is kept to what it is told, and to no nonsense") {
  std::thread([] {
    const Cpus all = affinity();
    keep_to({all.back()});
    CHECK(affinity() == Cpus{all.back()});
    keep_to({});  // which the kernel refuses
    CHECK(affinity() == Cpus{all.back()});
    keep_to(all);
    CHECK(affinity() == all);
  }).join();
}
