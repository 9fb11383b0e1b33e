// The CPU backend's kernels: every instruction set that this CPU has gives the bits of plain code, rows do
// not depend on one another, and results are as near to exact sums as quantised activations allow.
#include <doctest/doctest.h>
#include <facet/description.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "backends/onednn/cache.h"
#include "backends/onednn/kernels.h"
#include "backends/onednn/packing.h"
#include "tests/backends/avxvnni_for_avx512.h"
#include "tests/backends/sketch.h"

using namespace facet::cpu;
using facet::test::kTypes;
using facet::test::Random;

namespace {

struct Set {
  std::string name;
  Kernels kernels;
};

// The sets that this CPU runs. Those of AVX-VNNI are among them where it has AVX-512 VNNI alone.
std::vector<Set> vector_sets() {
  std::vector<Set> sets;
  for (Isa isa : kIsas) {
    if (isa != Isa::kPortable && isa_available(isa)) sets.push_back({isa_name(isa), kernels_of(isa)});
  }
#if defined(__x86_64__)
  if (isa_available(Isa::kAvx512Vnni) && !isa_available(Isa::kAvxVnni)) {
    sets.push_back({"avxvnni, encoded for AVX-512", kernels_of(Isa::kAvx2)});
    sets.back().kernels.matmul = facet::test::avxvnni_for_avx512;
  }
#endif
  return sets;
}

std::vector<Set> all_sets() {
  std::vector<Set> sets = vector_sets();
  sets.push_back({"portable", kernels_of(Isa::kPortable)});
  return sets;
}

struct Aligned {
  explicit Aligned(size_t bytes) : room(bytes + 64) {}
  std::byte* data() {
    return reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uintptr_t>(room.data()), 64));
  }
  std::vector<std::byte> room;
};

struct Problem {
  uint32_t type, width, outputs;
  std::vector<std::byte> weights;
  std::vector<uint8_t> packed;  // or empty
  std::vector<float> x;         // [rows, width]
  uint32_t rows;

  Problem(uint32_t type, uint32_t width, uint32_t outputs, uint32_t rows, uint32_t seed)
      : type(type), width(width), outputs(outputs), rows(rows) {
    Random random(seed);
    weights = facet::test::random_blocks(type, uint64_t{width} * outputs, random);
    x = random.floats(size_t{rows} * width, -3, 3);
  }

  // Rows [first, first + count).
  std::vector<float> solve(const Kernels& kernels, uint32_t first, uint32_t count) const {
    const ActKind kind = act_kind(type);
    const ActRow row(kind, width);
    Aligned acts(row.bytes * count), scratch(matmul_scratch(type, width));
    for (uint32_t r = 0; r < count; ++r) {
      const float* from = &x[size_t{first + r} * width];
      std::byte* act = acts.data() + r * row.bytes;
      if (kind == ActKind::kFloat) std::memcpy(act, from, row.bytes);
      if (kind == ActKind::kBlocks) kernels.quantise(from, width, act);
    }
    std::vector<float> out(size_t{count} * outputs);
    MatmulTile tile{};
    tile.type = type;
    tile.width = width;
    tile.weights = reinterpret_cast<const uint8_t*>(weights.data());
    tile.weight_stride = facet_row_bytes(type, width);
    tile.packed = packed.empty() ? nullptr : packed.data();
    tile.acts = acts.data();
    tile.act_stride = row.bytes;
    tile.rows = count;
    tile.outputs = outputs;
    tile.out = out.data();
    tile.out_stride = outputs;
    tile.scratch = scratch.data();
    kernels.matmul(tile);
    return out;
  }

  void pack() {
    REQUIRE(can_pack(type, outputs));
    const size_t row_bytes = facet_row_bytes(type, width), group_bytes = kPackedOutputs * row_bytes;
    packed.resize(outputs * row_bytes);
    for (size_t at = 0; at < packed.size(); at += group_bytes) {
      pack_group(type, reinterpret_cast<const uint8_t*>(weights.data()) + at, row_bytes, packed.data() + at);
    }
  }
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<uint32_t> widths_of(uint32_t type) {
  switch (facet_block_size_of(type).elements) {
    case 1:
      return {1, 5, 37, 533, 640};
    case 32:
      return {32, 96, 288, 640};
    default:
      return {256, 768, 2048};
  }
}

}  // namespace

TEST_CASE("matmul has the same bits in every instruction set, for every number of rows and outputs") {
  const Kernels plain = kernels_of(Isa::kPortable);
  for (const auto& [name, kernels] : vector_sets()) {
    for (uint32_t type : kTypes) {
      for (uint32_t width : widths_of(type)) {
        for (uint32_t rows : {1u, 2u, 3u, 4u, 7u, 8u, 15u, 37u, 64u}) {
          CAPTURE(name);
          CAPTURE(facet_type_name(type));
          CAPTURE(width);
          CAPTURE(rows);
          const uint32_t outputs = rows == 64 ? 3 : 16 + rows;
          Problem problem(type, width, outputs, rows, type + width + rows);
          REQUIRE(same_bits(problem.solve(kernels, 0, rows), problem.solve(plain, 0, rows)));
        }
      }
    }
  }
}

TEST_CASE("packed weights give the bits of the file's") {
  for (const auto& [name, kernels] : all_sets()) {
    for (uint32_t type : kTypes) {
      if (!can_pack(type, 48)) continue;
      for (uint32_t width : widths_of(type)) {
        for (uint32_t rows : {1u, 2u, 3u, 4u, 7u, 8u, 15u, 37u}) {
          CAPTURE(name);
          CAPTURE(facet_type_name(type));
          CAPTURE(width);
          CAPTURE(rows);
          Problem problem(type, width, 48, rows, type + width + rows);
          const std::vector<float> want = problem.solve(kernels, 0, rows);
          problem.pack();
          // Where the kernels read packed weights they read nothing else.
          if (kernels.isa != Isa::kPortable) problem.weights.assign(problem.weights.size(), std::byte{0});
          REQUIRE(same_bits(problem.solve(kernels, 0, rows), want));
        }
      }
    }
  }
}

TEST_CASE("a row's results do not depend on the rows beside it") {
  for (const auto& [name, kernels] : all_sets()) {
    for (uint32_t type : kTypes) {
      CAPTURE(name);
      CAPTURE(facet_type_name(type));
      Problem problem(type, 512, 9, 19, type);
      const std::vector<float> all = problem.solve(kernels, 0, 19);
      for (uint32_t row = 0; row < 19; ++row) {
        const std::vector<float> alone = problem.solve(kernels, row, 1);
        REQUIRE(same_bits(alone, {all.begin() + row * 9, all.begin() + (row + 1) * 9}));
      }
    }
  }
}

TEST_CASE("matmul is as near to the exact sum as the rounding of its activations allows") {
  for (uint32_t type : kTypes) {
    CAPTURE(facet_type_name(type));
    constexpr uint32_t width = 1024, outputs = 40, rows = 4;
    Problem problem(type, width, outputs, rows, 7 * type + 1);
    const std::vector<float> got = problem.solve(kernels_of(choose_isa(nullptr)), 0, rows);
    std::vector<float> weights(size_t{width} * outputs);
    facet_decode_row(type, problem.weights.data(), weights.size(), weights.data());
    for (uint32_t r = 0; r < rows; ++r) {
      for (uint32_t c = 0; c < outputs; ++c) {
        const float *x = &problem.x[r * width], *w = &weights[size_t{c} * width];
        double want = 0, rounding = 0, sum_of_sizes = 0;
        for (uint32_t start = 0; start < width; start += kBlock) {
          double greatest = 0;
          for (uint32_t i = start; i < start + kBlock; ++i)
            greatest = std::max(greatest, std::abs(double{x[i]}));
          for (uint32_t i = start; i < start + kBlock; ++i) {
            want += double{x[i]} * double{w[i]};
            rounding += 0.5001 * greatest / 127 * std::abs(double{w[i]});
            sum_of_sizes += std::abs(double{x[i]} * double{w[i]});
          }
        }
        double allowed = 2e-5 * sum_of_sizes + (act_kind(type) == ActKind::kFloat ? 0 : rounding);
        REQUIRE(std::abs(got[r * outputs + c] - want) <= allowed);
      }
    }
  }
}

TEST_CASE("extreme quants and activations do not saturate") {
  for (const auto& [name, kernels] : vector_sets()) {
    for (uint32_t type : kTypes) {
      if (facet_block_size_of(type).elements == 1) continue;
      for (uint8_t fill : {uint8_t{0x80}, uint8_t{0xff}, uint8_t{0x00}, uint8_t{0x7f}}) {
        CAPTURE(name);
        CAPTURE(facet_type_name(type));
        Problem problem(type, 512, 4, 3, type);
        // The scales stay; every other byte is the extreme. A scale that it makes a NaN or infinite is no
        // use.
        std::vector<std::byte> extreme(problem.weights.size(), std::byte{fill});
        std::vector<float> decoded(512 * 4);
        facet_decode_row(type, extreme.data(), decoded.size(), decoded.data());
        bool finite = true;
        for (float value : decoded) finite &= std::isfinite(value);
        if (!finite) continue;
        problem.weights = extreme;
        for (size_t i = 0; i < problem.x.size(); ++i) problem.x[i] = i / 512 == 1 ? -5.0f : 5.0f;
        REQUIRE(same_bits(problem.solve(kernels, 0, 3), problem.solve(kernels_of(Isa::kPortable), 0, 3)));
      }
      Problem q8(FACET_TYPE_Q8_0, 32, 1, 1, 1);
      auto* block = reinterpret_cast<facet_block_q8_0*>(q8.weights.data());
      block->d = facet_f32_to_f16(1.0f);
      std::memset(block->qs, 0x80, sizeof block->qs);
      q8.x.assign(32, -2.0f);
      CHECK(q8.solve(kernels, 0, 1)[0] == doctest::Approx(32.0 * 128 * 2));
    }
  }
}

TEST_CASE("zeros, tiny numbers, infinities and NaNs in activations") {
  for (const auto& [name, kernels] : all_sets()) {
    for (uint32_t type : {FACET_TYPE_Q8_0, FACET_TYPE_Q4_0, FACET_TYPE_Q4_K}) {
      CAPTURE(name);
      CAPTURE(facet_type_name(type));
      Problem problem(type, 256, 3, 4, 5);
      std::fill(problem.x.begin(), problem.x.begin() + 256, 0.0f);
      std::fill(problem.x.begin() + 256, problem.x.begin() + 512, 8e-25f);
      problem.x[512 + 9] = std::numeric_limits<float>::infinity();
      problem.x[768 + 9] = std::numeric_limits<float>::quiet_NaN();
      const std::vector<float> got = problem.solve(kernels, 0, 4);
      for (int c = 0; c < 3; ++c) {
        CHECK(got[c] == 0.0f);
        CHECK(got[3 + c] == 0.0f);
        CHECK(std::isnan(got[6 + c]));
        CHECK(std::isnan(got[9 + c]));
      }
    }
  }
}

TEST_CASE("activations round to the nearest of 255 steps") {
  const Kernels kernels = kernels_of(choose_isa(nullptr));
  Random random(3);
  const std::vector<float> x = random.floats(256, -1, 1);
  const ActRow row(ActKind::kBlocks, 256);
  Aligned act(row.bytes);
  kernels.quantise(x.data(), 256, act.data());
  auto* q = reinterpret_cast<const int8_t*>(act.data());
  auto* scales = reinterpret_cast<const float*>(act.data() + row.scales);
  auto* sums = reinterpret_cast<const int32_t*>(act.data() + row.sums);
  auto* scaled_sums = reinterpret_cast<const float*>(act.data() + row.scaled_sums);
  auto* half_sums = reinterpret_cast<const int32_t*>(act.data() + row.half_sums);
  for (uint32_t b = 0; b < 8; ++b) {
    int greatest = 0, half_sum[2] = {0, 0};
    for (uint32_t i = 0; i < kBlock; ++i) {
      const int quant = q[kBlock * b + i];
      REQUIRE(std::abs(double{scales[b]} * quant - double{x[kBlock * b + i]}) <= 0.5001 * double{scales[b]});
      greatest = std::max(greatest, std::abs(quant));
      half_sum[i / 16] += quant;
    }
    CHECK(greatest == 127);
    CHECK(half_sums[2 * b] == -half_sum[0]);
    CHECK(half_sums[2 * b + 1] == -half_sum[1]);
    CHECK(sums[b] == -(half_sum[0] + half_sum[1]));
    CHECK(scaled_sums[b] == scales[b] * static_cast<float>(half_sum[0] + half_sum[1]));
  }
}

TEST_CASE("activation functions are within a few roundings of exact ones") {
  std::vector<float> x, ones;
  for (int i = -200000; i <= 200000; ++i) x.push_back(static_cast<float>(i) * 1e-4f);
  for (float small : {2e-24f, -1e-20f, 1e-8f, 3e-5f, 60.0f, -60.0f, 1e6f}) x.push_back(small);
  ones.assign(x.size(), 1.0f);
  std::vector<float> got(x.size()), plain(x.size());
  const Kernels kernels = kernels_of(choose_isa(nullptr)), portable = kernels_of(Isa::kPortable);

  kernels.gelu_gated(x.data(), ones.data(), x.size(), got.data());
  portable.gelu_gated(x.data(), ones.data(), x.size(), plain.data());
  CHECK(same_bits(got, plain));
  for (size_t i = 0; i < x.size(); ++i) {
    const double v = x[i], u = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
    const double want = v / (1 + std::exp(-2 * u));
    CAPTURE(v);
    REQUIRE(std::abs(got[i] - want) <= 3e-7 * std::abs(v));
    if (std::abs(v) < 1) REQUIRE(std::abs(got[i] - want) <= 6e-7 * std::abs(want));
    // Nothing so small that products with it are denormal goes into the next matmul.
    REQUIRE((got[i] == 0 || std::abs(got[i]) >= 0x1p-80f));
  }

  kernels.soft_cap(x.data(), 1.0f, x.size(), got.data());
  portable.soft_cap(x.data(), 1.0f, x.size(), plain.data());
  CHECK(same_bits(got, plain));
  for (size_t i = 0; i < x.size(); ++i) {
    CAPTURE(x[i]);
    REQUIRE(std::abs(got[i] - std::tanh(double{x[i]})) <= 3e-7 * std::abs(std::tanh(double{x[i]})));
  }
}

TEST_CASE("row kernels and attention have the same bits in every instruction set") {
  const Kernels plain = kernels_of(Isa::kPortable);
  Random random(11);
  for (const auto& [name, k] : vector_sets()) {
    for (uint32_t n : {1u, 7u, 8u, 33u, 256u, 641u}) {
      CAPTURE(n);
      const std::vector<float> x = random.floats(n, -9, 9), y = random.floats(n, -9, 9);
      std::vector<float> a(n), b(n);
      auto same = [&](auto call) {
        call(k, a.data());
        call(plain, b.data());
        return same_bits(a, b);
      };
      CHECK(same([&](const Kernels& s, float* out) { s.add(x.data(), y.data(), n, out); }));
      CHECK(same([&](const Kernels& s, float* out) { s.mul(x.data(), y.data(), n, out); }));
      CHECK(same([&](const Kernels& s, float* out) { s.scale(x.data(), 0.7f, n, out); }));
      CHECK(same([&](const Kernels& s, float* out) { s.add_scaled(y.data(), 0.3f, n, out); }));
      CHECK(same([&](const Kernels& s, float* out) { s.rms_norm(x.data(), y.data(), n, 1, 1e-6f, out); }));
      CHECK(same([&](const Kernels& s, float* out) { s.rms_norm(x.data(), nullptr, n, 1, 1e-6f, out); }));
      CHECK(same([&](const Kernels& s, float* out) {
        s.rope(x.data(), y.data(), y.data() + n / 2, n, n / 2 * 2, out);
      }));
      CHECK(same(
          [&](const Kernels& s, float* out) { s.to_half(x.data(), n, reinterpret_cast<uint16_t*>(out)); }));
    }
    for (uint32_t type : {FACET_TYPE_F32, FACET_TYPE_F16, FACET_TYPE_Q8_0}) {
      for (uint32_t dim : {4u, 24u, 60u, 64u, 96u}) {
        if (dim % facet_block_size_of(type).elements != 0) continue;
        constexpr uint32_t positions = 64, pages = 3, count = 9;
        const size_t block = block_bytes(type, dim, dim), page = positions / kKeyBlock * block;
        std::vector<std::byte> cache(pages * page), room(2 * facet_row_bytes(type, dim));
        for (uint32_t p = 0; p < pages * positions; ++p) {
          const std::vector<float> key = random.floats(dim, -2, 2), value = random.floats(dim, -2, 2);
          put_position(plain, type, cache.data() + p / kKeyBlock * block, p % kKeyBlock, key.data(), dim,
                       value.data(), dim, room.data());
        }
        const std::vector<float> q = random.floats(count * dim, -2, 2);
        const uint32_t table[] = {2, 0};
        auto attend = [&](const Kernels& kernels, uint32_t first, uint32_t queries) {
          std::vector<float> out(queries * dim);
          std::vector<Query> list;
          for (uint32_t i = 0; i < queries; ++i) {
            const uint32_t n = first + i;
            list.push_back({&q[n * dim], &out[i * dim], 64 + n * 3 % 40, 128 + (n < 5 ? 40 : n)});
          }
          kernels.attention(
              {list.data(), queries, dim, dim, 0.3f, type, table, 1, positions, cache.data(), page});
          return out;
        };
        const std::vector<float> all = attend(k, 0, count);
        CHECK(same_bits(all, attend(plain, 0, count)));
        for (uint32_t i = 0; i < count; ++i) {
          CHECK(same_bits(attend(k, i, 1), {all.begin() + i * dim, all.begin() + (i + 1) * dim}));
        }
      }
    }
  }
}

TEST_CASE("every instruction set encodes Q8_0 as the format's own encoder does") {
  std::vector<Set> sets = vector_sets();
  sets.push_back({"portable", kernels_of(Isa::kPortable)});
  Random random(12);
  for (const auto& [name, k] : sets) {
    CAPTURE(name);
    auto check = [&, encode = k.to_q8_0](const std::vector<float>& x) {
      std::vector<facet_block_q8_0> got(x.size() / 32), want(x.size() / 32);
      encode(x.data(), x.size(), got.data());
      for (size_t b = 0; b < want.size(); ++b) facet_encode_q8_0(&x[32 * b], &want[b]);
      REQUIRE(std::memcmp(got.data(), want.data(), want.size() * sizeof want[0]) == 0);
    };
    for (float range : {1e-38f, 1e-7f, 1e-5f, 3.0f, 1e6f, 9e6f, 1e38f})
      check(random.floats(4096, -range, range));
    std::vector<float> ties(64);
    for (int i = 0; i < 64; ++i) ties[static_cast<size_t>(i)] = static_cast<float>(i) / 2 - 15.75f;
    ties[0] = 127;
    ties[63] = -254;
    check(ties);
    for (float special : {0.0f, -0.0f, 127 * 0x1p-25f, 128 * 0x1p-25f, 127 * 65504.0f, 127 * 65520.0f,
                          std::numeric_limits<float>::denorm_min(), std::numeric_limits<float>::max(),
                          std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      for (float sign : {1.0f, -1.0f}) {
        std::vector<float> x(96, 0.0f);
        x[40] = special * sign;
        check(x);
      }
    }
  }
}

TEST_CASE("FACET_ISA names what the CPU has, or is refused by name") {
  CHECK(choose_isa("portable") == Isa::kPortable);
  CHECK(choose_isa(nullptr) == choose_isa(""));
  for (Isa isa : kIsas) {
    if (isa_available(isa)) {
      CHECK(choose_isa(isa_name(isa)) == isa);
    } else {
      CHECK_THROWS_WITH_AS(choose_isa(isa_name(isa)), doctest::Contains(isa_name(isa)),
                           facet::plugin::Failure);
    }
  }
  CHECK_THROWS_WITH_AS(choose_isa("mmx"), doctest::Contains("mmx"), facet::plugin::Failure);
}
