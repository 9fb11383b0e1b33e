#include <doctest/doctest.h>
#include <facet/blocks.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <random>
#include <vector>

TEST_CASE("every decoder gives the floats of PyPI gguf, bit for bit, for blocks of any bits") {
  std::ifstream file("tests/plugins/data/blocks.bin", std::ios::binary);
  REQUIRE(file);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  std::map<uint32_t, uint32_t> decoded;
  for (size_t at = 0; at < bytes.size();) {
    uint32_t head[3];  // type, elements, bytes of blocks
    REQUIRE(at + sizeof head <= bytes.size());
    std::memcpy(head, &bytes[at], sizeof head);
    at += sizeof head;
    CAPTURE(facet_type_name(head[0]));
    REQUIRE(facet_block_size_of(head[0]).elements != 0);
    REQUIRE(facet_row_bytes(head[0], head[1]) == head[2]);
    std::vector<uint16_t> blocks(head[2] / 2);  // aligned as blocks need it
    std::memcpy(blocks.data(), &bytes[at], head[2]);
    at += head[2];
    std::vector<float> want(head[1]), got(head[1]);
    std::memcpy(want.data(), &bytes[at], head[1] * sizeof(float));
    at += head[1] * sizeof(float);

    facet_decode_row(head[0], blocks.data(), head[1], got.data());
    for (uint32_t i = 0; i < head[1]; ++i) {
      CAPTURE(i);
      if (std::isnan(want[i])) {
        REQUIRE(std::isnan(got[i]));
      } else {
        REQUIRE(std::bit_cast<uint32_t>(got[i]) == std::bit_cast<uint32_t>(want[i]));
      }
    }
    decoded[head[0]] += head[1];
  }
  CHECK(decoded.size() == 14);  // all types but F32
}

TEST_CASE("types that do not exist have no size and no name") {
  for (uint32_t type : {4u, 5u, 9u, 15u, 16u, 24u, 31u, 1000u}) {
    CHECK(facet_block_size_of(type).elements == 0);
    CHECK(std::strcmp(facet_type_name(type), "unknown") == 0);
  }
}

TEST_CASE("float16: every value survives the way to float32 and back") {
  for (uint32_t half = 0; half < 0x10000; ++half) {
    const float value = facet_f16_to_f32(static_cast<uint16_t>(half));
    const uint16_t back = facet_f32_to_f16(value);
    const uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    const double sign = half & 0x8000 ? -1 : 1;
    if (exponent == 0x1f && fraction != 0) {
      REQUIRE(std::isnan(value));
      REQUIRE(back == (half | 0x200));  // quiet
      continue;
    }
    if (exponent == 0x1f) {
      REQUIRE(double{value} == sign * std::numeric_limits<double>::infinity());
    } else if (exponent == 0) {
      REQUIRE(double{value} == sign * std::ldexp(fraction, -24));
    } else {
      REQUIRE(double{value} == sign * std::ldexp(1024 + fraction, static_cast<int>(exponent) - 25));
    }
    REQUIRE(back == half);
  }
}

TEST_CASE("float32 to float16 rounds to the nearest, ties to even") {
  for (uint16_t half = 0; half < 0x7c00; ++half) {
    const double low = double{facet_f16_to_f32(half)};
    // Beyond the largest value the next step would be 65536.
    const double high = half == 0x7bff ? 65536.0 : double{facet_f16_to_f32(static_cast<uint16_t>(half + 1))};
    const auto middle = static_cast<float>((low + high) / 2);
    REQUIRE(double{middle} == (low + high) / 2);
    const uint16_t even = half % 2 == 0 ? half : static_cast<uint16_t>(half + 1);
    REQUIRE(facet_f32_to_f16(middle) == even);
    REQUIRE(facet_f32_to_f16(-middle) == (even | 0x8000));
    REQUIRE(facet_f32_to_f16(std::nextafterf(middle, 0)) == half);
    REQUIRE(facet_f32_to_f16(std::nextafterf(middle, 1e9f)) == half + 1);
  }
  CHECK(facet_f32_to_f16(1e30f) == 0x7c00);
  CHECK(facet_f32_to_f16(-std::numeric_limits<float>::infinity()) == 0xfc00);
  CHECK(facet_f32_to_f16(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(facet_f32_to_f16(-0.0f) == 0x8000);
}

TEST_CASE("bfloat16: every value survives, and float32 rounds to the nearest, ties to even") {
  for (uint32_t brain = 0; brain < 0x10000; ++brain) {
    const float value = facet_bf16_to_f32(static_cast<uint16_t>(brain));
    REQUIRE(std::bit_cast<uint32_t>(value) == brain << 16);
    const uint16_t back = facet_f32_to_bf16(value);
    if (std::isnan(value)) {
      REQUIRE(back == (brain | 0x40));
      continue;
    }
    REQUIRE(back == brain);
    if (std::isinf(value)) continue;
    const uint32_t even = brain % 2 == 0 ? brain : brain + 1;
    REQUIRE(facet_f32_to_bf16(std::bit_cast<float>(brain << 16 | 0x7fff)) == brain);
    REQUIRE(facet_f32_to_bf16(std::bit_cast<float>(brain << 16 | 0x8000)) == even);
    REQUIRE(facet_f32_to_bf16(std::bit_cast<float>(brain << 16 | 0x8001)) == brain + 1);
  }
}

namespace {

struct Encoded {
  explicit Encoded(const std::vector<float>& x) {
    REQUIRE(x.size() == 32);
    facet_encode_q8_0(x.data(), &block);
    facet_decode_q8_0(&block, decoded);
  }
  facet_block_q8_0 block;
  float decoded[32];
};

}  // namespace

TEST_CASE("Q8_0: quants are the nearest integers, ties to even, the greatest magnitude is 127") {
  std::vector<float> x(32);
  for (int i = 0; i < 32; ++i) x[i] = static_cast<float>(i) - 15.5f;  // all of them ties
  x[31] = -127;
  const Encoded whole(x);
  CHECK(facet_f16_to_f32(whole.block.d) == 1.0f);
  for (int i = 0; i < 31; ++i) CHECK(whole.block.qs[i] == std::nearbyint(x[i]));
  CHECK(whole.block.qs[31] == -127);

  // d is rounded to float16, the quants are those of the unrounded scale.
  std::mt19937 random(3);
  std::uniform_real_distribution<float> uniform(-3, 3);
  for (int round = 0; round < 1000; ++round) {
    float m = 0;
    for (float& value : x) {
      value = uniform(random);
      m = std::max(m, std::abs(value));
    }
    const Encoded some(x);
    REQUIRE(some.block.d == facet_f32_to_f16(m / 127.0f));
    for (int i = 0; i < 32; ++i) {
      REQUIRE(some.block.qs[i] == std::nearbyint(x[i] * (127.0f / m)));
      REQUIRE(std::abs(some.decoded[i] - x[i]) <= m / 127 * (0.5f + 127 * 0x1p-11f));
    }
  }
}

TEST_CASE("Q8_0: zeros, the smallest and the largest scales, infinities and NaNs") {
  auto one = [](float value) {
    std::vector<float> x(32, 0.0f);
    x[5] = value;
    return Encoded(x);
  };
  for (float nothing : {0.0f, -0.0f, std::numeric_limits<float>::denorm_min(), 127 * 0x1p-25f}) {
    const Encoded zero = one(nothing);
    CHECK(zero.block.d == 0);
    for (int i = 0; i < 32; ++i) CHECK(zero.block.qs[i] == 0);
  }
  const Encoded least = one(-128 * 0x1p-25f);
  CHECK(least.block.d == 1);
  CHECK(least.block.qs[5] == -127);
  const Encoded most = one(127 * 65504.0f);
  CHECK(most.decoded[5] == 127 * 65504.0f);
  for (float wrong : {127 * 65520.0f, std::numeric_limits<float>::max(),
                      std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
    const Encoded lost = one(wrong);
    CHECK(lost.block.d == 0x7e00);
    for (int i = 0; i < 32; ++i) {
      CHECK(lost.block.qs[i] == 0);
      CHECK(std::isnan(lost.decoded[i]));
    }
  }
}
