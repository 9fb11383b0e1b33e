// What this machine can do at most: machine_probe [--threads N] [--seconds S] [--mib M]
//
//   read   bytes per second that N threads read from memory together, each from its own part of a buffer
//          that is well beyond the last cache.
//   int8   operations (two per multiply-accumulate) per second of N threads together, on integers of 8 bits
//          that are in registers, for each instruction set that this CPU has and Facet has kernels for:
//          avx512vnni and avxvnni by one instruction, avx2 by three (multiply, widen, add); i8mm and dotprod
//          on aarch64.
//
// Every number is the best of passes that go on for S seconds: what others take only lowers a pass. Prints
// one JSON object. Where no instruction set is known, int8 is empty.
#include <sys/mman.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace {

using Clock = std::chrono::steady_clock;

std::atomic<uint64_t> sink;  // takes results, so that nothing is optimised away

// Calls work(thread, pass) on all threads at once, pass after pass; the shortest time from the first's start
// to the last's end.
template <typename Work>
double best_seconds(unsigned threads, double seconds, const Work& work) {
  double best = 1e9;
  Clock::time_point start;
  const Clock::time_point end =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  bool more = true;
  std::barrier begin(threads, [&]() noexcept { start = Clock::now(); });
  std::barrier done(threads, [&]() noexcept {
    const Clock::time_point now = Clock::now();
    best = std::min(best, std::chrono::duration<double>(now - start).count());
    more = now < end;
  });
  auto loop = [&](unsigned thread) {
    uint64_t pass = 0;
    do {
      begin.arrive_and_wait();
      work(thread, pass++);
      done.arrive_and_wait();
    } while (more);
  };
  std::vector<std::jthread> others;
  for (unsigned thread = 1; thread < threads; ++thread) others.emplace_back(loop, thread);
  loop(0);
  return best;
}

// ---- reading

uint64_t read_portable(const uint64_t* data, size_t words) {
  uint64_t sums[8] = {};
  for (size_t i = 0; i < words; i += 8) {
    for (size_t j = 0; j < 8; ++j) sums[j] ^= data[i + j];
  }
  uint64_t sum = 0;
  for (uint64_t part : sums) sum ^= part;
  return sum;
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) uint64_t read_avx2(const uint64_t* data, size_t words) {
  __m256i sums[4] = {};
  for (size_t i = 0; i < words; i += 16) {
    for (size_t j = 0; j < 4; ++j) {
      const auto* from = reinterpret_cast<const __m256i*>(data + i + 4 * j);
      sums[j] = _mm256_xor_si256(sums[j], _mm256_load_si256(from));
    }
  }
  const __m256i all =
      _mm256_xor_si256(_mm256_xor_si256(sums[0], sums[1]), _mm256_xor_si256(sums[2], sums[3]));
  alignas(32) uint64_t parts[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(parts), all);
  return parts[0] ^ parts[1] ^ parts[2] ^ parts[3];
}
#endif

// At least 256 MiB, and four times the last cache as far as that is at most 1 GiB (a virtual machine may name
// the whole host's); at most a quarter of the memory.
size_t default_buffer() {
  const auto cache = static_cast<size_t>(std::max(0l, sysconf(_SC_LEVEL3_CACHE_SIZE)));
  const size_t wanted = std::clamp<size_t>(4 * cache, 256u << 20, 1u << 30);
  const size_t memory =
      static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return std::min(wanted, memory / 4);
}

double read_bytes_per_second(unsigned threads, double seconds, size_t bytes) {
  // A pass reads the next slice of each thread's part: short, so that it is seldom interrupted, and the
  // caches have forgotten the slice when its turn comes again.
  constexpr size_t kPage = 4096, kSlices = 8;
  const size_t slice = std::max(bytes / threads / kSlices / kPage, size_t{1}) * kPage;
  const size_t all = slice * kSlices * threads;
  void* memory = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  madvise(memory, all, MADV_HUGEPAGE);
  auto* data = static_cast<uint64_t*>(memory);
  for (size_t i = 0; i < all / sizeof(uint64_t); ++i) data[i] = i;

  auto read = read_portable;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) read = read_avx2;
#endif
  const size_t words = slice / sizeof(uint64_t);
  const double best = best_seconds(threads, seconds, [&](unsigned thread, uint64_t pass) {
    sink ^= read(data + (thread * kSlices + pass % kSlices) * words, words);
  });
  munmap(memory, all);
  return static_cast<double>(slice * threads) / best;
}

// ---- multiplying

// Does `rounds` rounds and returns the multiply-accumulates of one.
using Multiply = uint64_t (*)(uint64_t rounds);

#if defined(__x86_64__)
// Enough sums that no instruction waits for the one before.
constexpr int kSums = 12;

#define FACET_KEEP(vector) asm volatile("" : "+v"(vector))

__attribute__((target("avx512f,avx512vnni"))) uint64_t multiply_avx512vnni(uint64_t rounds) {
  __m512i sums[kSums] = {};
  for (auto& sum : sums) FACET_KEEP(sum);  // else they are known to be equal
  __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
  for (uint64_t round = 0; round < rounds; ++round) {
    FACET_KEEP(x);
#pragma GCC unroll 12
    for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, x, y);
  }
  for (__m512i& sum : sums) FACET_KEEP(sum);
  return uint64_t{kSums} * 64;
}

__attribute__((target("avx2,avxvnni"))) uint64_t multiply_avxvnni(uint64_t rounds) {
  __m256i sums[kSums] = {};
  for (auto& sum : sums) FACET_KEEP(sum);  // else they are known to be equal
  __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
  for (uint64_t round = 0; round < rounds; ++round) {
    FACET_KEEP(x);
#pragma GCC unroll 12
    for (__m256i& sum : sums) sum = _mm256_dpbusd_avx_epi32(sum, x, y);
  }
  for (__m256i& sum : sums) FACET_KEEP(sum);
  return uint64_t{kSums} * 32;
}

__attribute__((target("avx2"))) uint64_t multiply_avx2(uint64_t rounds) {
  __m256i sums[kSums] = {};
  for (auto& sum : sums) FACET_KEEP(sum);  // else they are known to be equal
  __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (uint64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (__m256i& sum : sums) {
      FACET_KEEP(x);  // a product of its own for each sum
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
    }
  }
  for (__m256i& sum : sums) FACET_KEEP(sum);
  return uint64_t{kSums} * 32;
}

bool has_avxvnni() {
  unsigned eax, ebx, ecx, edx;
  return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 &&
         (eax & (1u << 4)) != 0;
}
#elif defined(__aarch64__)
constexpr int kSums = 12;

#define FACET_KEEP(vector) asm volatile("" : "+w"(vector))

__attribute__((target("arch=armv8.2-a+dotprod"))) uint64_t multiply_dotprod(uint64_t rounds) {
  int32x4_t sums[kSums] = {};
  for (auto& sum : sums) FACET_KEEP(sum);  // else they are known to be equal
  int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(5);
  for (uint64_t round = 0; round < rounds; ++round) {
    FACET_KEEP(x);
#pragma GCC unroll 12
    for (int32x4_t& sum : sums) sum = vdotq_s32(sum, x, y);
  }
  for (int32x4_t& sum : sums) FACET_KEEP(sum);
  return uint64_t{kSums} * 16;
}

__attribute__((target("arch=armv8.2-a+i8mm"))) uint64_t multiply_i8mm(uint64_t rounds) {
  int32x4_t sums[kSums] = {};
  for (auto& sum : sums) FACET_KEEP(sum);  // else they are known to be equal
  int8x16_t x = vdupq_n_s8(3), y = vdupq_n_s8(5);
  for (uint64_t round = 0; round < rounds; ++round) {
    FACET_KEEP(x);
#pragma GCC unroll 12
    for (int32x4_t& sum : sums) sum = vmmlaq_s32(sum, x, y);
  }
  for (int32x4_t& sum : sums) FACET_KEEP(sum);
  return uint64_t{kSums} * 32;
}
#endif

struct Set {
  const char* name;
  Multiply multiply;
};

std::vector<Set> available_sets() {
  std::vector<Set> sets;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vnni")) {
    sets.push_back({"avx512vnni", multiply_avx512vnni});
  }
  if (has_avxvnni()) sets.push_back({"avxvnni", multiply_avxvnni});
  if (__builtin_cpu_supports("avx2")) sets.push_back({"avx2", multiply_avx2});
#elif defined(__aarch64__)
  if ((getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0) sets.push_back({"i8mm", multiply_i8mm});
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) sets.push_back({"dotprod", multiply_dotprod});
#endif
  return sets;
}

double operations_per_second(unsigned threads, double seconds, Multiply multiply) {
  constexpr uint64_t kRounds = 1 << 19;  // a few milliseconds, so that a pass is seldom interrupted
  const double best = best_seconds(threads, seconds, [&](unsigned, uint64_t) { multiply(kRounds); });
  return 2.0 * static_cast<double>(kRounds * multiply(0)) * threads / best;
}

int run(int argc, char** argv) {
  CLI::App app{"measures what this machine can do at most: reading memory, multiplying integers of 8 bits"};
  unsigned threads = std::max(1u, std::thread::hardware_concurrency());
  double seconds = 1.0;
  size_t mib = default_buffer() >> 20;
  app.add_option("--threads", threads, "at once")->check(CLI::Range(1, 1024));
  app.add_option("--seconds", seconds, "for each number")->check(CLI::Range(0.0, 60.0));
  app.add_option("--mib", mib, "of the buffer that is read, shared by the threads")
      ->check(CLI::Range(8, 1 << 20));
  CLI11_PARSE(app, argc, argv);

  nlohmann::ordered_json report{{"threads", threads}, {"read_mib", mib}};
  report["read_bytes_per_second"] = read_bytes_per_second(threads, seconds, mib << 20);
  report["int8_operations_per_second"] = nlohmann::ordered_json::object();
  for (const Set& set : available_sets()) {
    report["int8_operations_per_second"][set.name] = operations_per_second(threads, seconds, set.multiply);
  }
  std::printf("%s\n", report.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "machine_probe: %s\n", error.what());
    return 1;
  }
}
