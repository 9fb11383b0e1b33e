#include "backends/onednn/self_check.h"

#include <cstring>
#include <random>
#include <vector>

#include "backends/onednn/cache.h"
#include "backends/onednn/packing.h"

namespace facet::cpu {
namespace {

constexpr uint32_t kTypes[] = {FACET_TYPE_F32,  FACET_TYPE_F16,    FACET_TYPE_BF16,  FACET_TYPE_Q4_0,
                               FACET_TYPE_Q4_1, FACET_TYPE_Q5_0,   FACET_TYPE_Q5_1,  FACET_TYPE_Q8_0,
                               FACET_TYPE_Q2_K, FACET_TYPE_Q3_K,   FACET_TYPE_Q4_K,  FACET_TYPE_Q5_K,
                               FACET_TYPE_Q6_K, FACET_TYPE_IQ4_NL, FACET_TYPE_IQ4_XS};
constexpr uint32_t kWidth = 512, kOutputs = 19, kRows = 15;

// Random blocks, with float16 scales that are small numbers.
std::vector<uint8_t> random_weights(uint32_t type, std::minstd_rand& random) {
  std::vector<uint8_t> bytes(kOutputs * facet_row_bytes(type, kWidth));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() >> 8);
  if (type == FACET_TYPE_F32) {
    for (size_t i = 3; i < bytes.size(); i += 4) bytes[i] = (bytes[i] & 0x80) | 0x3c;
    return bytes;
  }
  // A half (or brain) float with the exponent's top bit clear is below 2 and no NaN; every byte pair of a
  // block that might be one gets that, which leaves the quants random enough.
  for (size_t i = 1; i < bytes.size(); i += 2) bytes[i] &= 0xbf;
  return bytes;
}

std::vector<float> random_floats(size_t n, std::minstd_rand& random) {
  std::vector<float> values(n);
  for (float& value : values)
    value = static_cast<float>(static_cast<int>(random() % 20001) - 10000) * 0x1p-12f;
  return values;
}

struct Buffer {
  explicit Buffer(size_t bytes) : room(bytes + 64) {}
  std::byte* data() {
    return reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uintptr_t>(room.data()), 64));
  }
  std::vector<std::byte> room;
};

// `packed`: a group of outputs is read from there.
std::vector<float> multiply(const Kernels& kernels, uint32_t type, uint32_t rows,
                            const std::vector<uint8_t>& weights, const std::vector<float>& x,
                            const uint8_t* packed = nullptr) {
  ActKind kind = act_kind(type);
  ActRow row(kind, kWidth);
  Buffer acts(row.bytes * rows), scratch(matmul_scratch(type, kWidth));
  for (uint32_t r = 0; r < rows; ++r) {
    std::byte* act = acts.data() + r * row.bytes;
    if (kind == ActKind::kFloat) std::memcpy(act, &x[r * kWidth], row.bytes);
    if (kind == ActKind::kBlocks) kernels.quantise(&x[r * kWidth], kWidth, act);
  }
  const uint32_t outputs = packed == nullptr ? kOutputs : kPackedOutputs;
  std::vector<float> out(size_t{rows} * outputs);
  MatmulTile tile{};
  tile.type = type;
  tile.width = kWidth;
  tile.weights = weights.data();
  tile.weight_stride = facet_row_bytes(type, kWidth);
  tile.packed = packed;
  tile.acts = acts.data();
  tile.act_stride = row.bytes;
  tile.rows = rows;
  tile.outputs = outputs;
  tile.out = out.data();
  tile.out_stride = outputs;
  tile.scratch = scratch.data();
  kernels.matmul(tile);
  return out;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Whether a packed group gives what the file's outputs do, which are the first of `want`.
bool packed_is_same(const Kernels& kernels, uint32_t type, uint32_t rows, const std::vector<uint8_t>& weights,
                    const std::vector<float>& x, const std::vector<float>& want) {
  const size_t row_bytes = facet_row_bytes(type, kWidth);
  std::vector<uint8_t> packed(kPackedOutputs * row_bytes);
  pack_group(type, weights.data(), row_bytes, packed.data());
  const std::vector<float> got = multiply(kernels, type, rows, weights, x, packed.data());
  for (uint32_t r = 0; r < rows; ++r) {
    if (std::memcmp(&got[r * kPackedOutputs], &want[r * kOutputs], kPackedOutputs * sizeof(float)) != 0)
      return false;
  }
  return true;
}

// A row through every row kernel.
std::vector<float> row_results(const Kernels& k, const std::vector<float>& x) {
  constexpr uint32_t n = 100;
  std::vector<float> all(10 * n);
  const float *a = x.data(), *b = x.data() + n;
  float* out = all.data();
  k.rms_norm(a, b, n, 1, 1e-6f, out);
  k.rope(a, b, b + n, n, n - 4, out + n);
  k.gelu_gated(a, b, n, out + 2 * n);
  k.add(a, b, n, out + 3 * n);
  k.mul(a, b, n, out + 4 * n);
  k.scale(a, 0.3f, n, out + 5 * n);
  k.add_scaled(b, 0.7f, n, out + 5 * n);
  k.soft_cap(a, 1.5f, n, out + 6 * n);
  k.to_half(a, n, reinterpret_cast<uint16_t*>(out + 7 * n));
  k.rms_norm(a, nullptr, n / 4, 4, 1e-6f, out + 8 * n);
  k.to_q8_0(a, n / 32 * 32, reinterpret_cast<facet_block_q8_0*>(out + 9 * n));
  return all;
}

std::vector<float> attend(const Kernels& k, uint32_t type, const std::vector<float>& x) {
  const uint32_t dim = type == FACET_TYPE_Q8_0 ? 64 : 60, number = 0;
  constexpr uint32_t heads = 13, positions = 64;
  const size_t block = block_bytes(type, dim, dim);
  std::vector<std::byte> page(positions / kKeyBlock * block), room(2 * facet_row_bytes(type, dim));
  for (uint32_t p = 0; p < positions; ++p) {
    put_position(k, type, page.data() + p / kKeyBlock * block, p % kKeyBlock, &x[p * dim], dim,
                 &x[(positions - p) * dim + 7], dim, room.data());
  }
  std::vector<float> out(heads * dim);
  Query queries[heads];
  for (uint32_t h = 0; h < heads; ++h) queries[h] = {&x[h * dim], &out[h * dim], 3, h < 9 ? 50 : 40};
  k.attention({queries, heads, dim, dim, 0.5f, type, &number, 0, positions, page.data(), page.size()});
  return out;
}

}  // namespace

std::string difference(const Kernels& tried, const Kernels& trusted) {
  std::minstd_rand random(1);
  const std::vector<float> x = random_floats(size_t{kRows} * kWidth, random);
  for (uint32_t type : kTypes) {
    const std::vector<uint8_t> weights = random_weights(type, random);
    for (uint32_t rows : {1u, 3u, 8u, 15u}) {
      const std::string what = std::string(facet_type_name(type)) + ", " + std::to_string(rows) + " rows";
      const std::vector<float> want = multiply(trusted, type, rows, weights, x);
      if (!same_bits(multiply(tried, type, rows, weights, x), want)) return "matmul of " + what;
      if (can_pack(type, kPackedOutputs) && !packed_is_same(tried, type, rows, weights, x, want)) {
        return "matmul of packed " + what;
      }
    }
  }
  if (!same_bits(row_results(tried, x), row_results(trusted, x))) return "row kernels";
  for (uint32_t type : {FACET_TYPE_F32, FACET_TYPE_F16, FACET_TYPE_Q8_0}) {
    if (!same_bits(attend(tried, type, x), attend(trusted, type, x))) {
      return std::string("attention over ") + facet_type_name(type);
    }
  }
  return "";
}

}  // namespace facet::cpu
