// The CPU priority of the CPU backend's compute threads.
#include "backends/onednn/niceness.h"

#include <doctest/doctest.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "backends/onednn/pool.h"

using facet::cpu::Niceness;
using facet::cpu::Pool;

namespace {

int own_nice() {
  return getpriority(PRIO_PROCESS, 0);
}

// The nice values of this process's threads but the calling one.
std::vector<int> others() {
  std::vector<int> all;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    const int id = std::stoi(thread.path().filename());
    if (id != gettid()) all.push_back(getpriority(PRIO_PROCESS, static_cast<id_t>(id)));
  }
  return all;
}

// Of the calling thread alone.
void give_up_the_right_to_raise() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2];
  REQUIRE(syscall(SYS_capget, &header, sets) == 0);
  sets[0].effective &= ~(1u << CAP_SYS_NICE);
  REQUIRE(syscall(SYS_capset, &header, sets) == 0);
}

}  // namespace

TEST_CASE("threads stand back and come back, those of a pool and those that come later") {
  Niceness niceness;
  const int usual = own_nice();
  const auto nice_after = [&](uint32_t steps) {
    return niceness.can_come_back() ? std::min(usual + static_cast<int>(steps), 19) : usual;
  };
  std::atomic<uint32_t> begun{0};
  Pool pool(3, [&] {
    niceness.join();
    ++begun;
  });
  while (begun != 2) std::this_thread::yield();
  for (const uint32_t steps : {5u, 0u, 19u, 5u}) {
    niceness.set(steps);
    // Whoever runs the pool is not one of them here.
    CHECK(own_nice() == usual);
    const std::vector<int> now = others();
    CHECK(std::count(now.begin(), now.end(), nice_after(steps)) >= 2);
  }
  int late = 0;
  std::thread([&] {
    niceness.join();
    late = own_nice();
    niceness.set(0);
    CHECK(own_nice() == usual);
  }).join();
  CHECK(late == nice_after(5));
}

TEST_CASE("who might not come back never stands back") {
  rlimit limit{};
  REQUIRE(getrlimit(RLIMIT_NICE, &limit) == 0);
  const rlimit none{0, limit.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NICE, &none) == 0);
  std::thread([] {
    give_up_the_right_to_raise();
    Niceness niceness;
    CHECK_FALSE(niceness.can_come_back());
    niceness.join();
    const int usual = own_nice();
    niceness.set(5);
    CHECK(own_nice() == usual);
  }).join();
  CHECK(setrlimit(RLIMIT_NICE, &limit) == 0);
}
