#include "backends/onednn/unpack.h"

#include <algorithm>

namespace facet::cpu {
namespace {

void fill(PlainBlock& out, const auto& element, float d, float m) {
  for (int i = 0; i < 32; ++i) out.q[i] = static_cast<int16_t>(element(i));
  std::fill_n(out.d, 2, d);
  std::fill_n(out.m, 2, m);
}

int nibble(const uint8_t* qs, int i) {
  return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4;
}

PlainBlock plain(const facet_block_q4_0& b, int) {
  PlainBlock out{};
  fill(
      out, [&](int i) { return nibble(b.qs, i) - 8; }, facet_f16_to_f32(b.d), 0);
  return out;
}

PlainBlock plain(const facet_block_q4_1& b, int) {
  PlainBlock out{};
  fill(
      out, [&](int i) { return nibble(b.qs, i); }, facet_f16_to_f32(b.d), facet_f16_to_f32(b.m));
  return out;
}

PlainBlock plain(const facet_block_q5_0& b, int) {
  PlainBlock out{};
  fill(
      out, [&](int i) { return facet_five_bits(b.qs, b.qh, i) - 16; }, facet_f16_to_f32(b.d), 0);
  return out;
}

PlainBlock plain(const facet_block_q5_1& b, int) {
  PlainBlock out{};
  fill(
      out, [&](int i) { return facet_five_bits(b.qs, b.qh, i); }, facet_f16_to_f32(b.d),
      facet_f16_to_f32(b.m));
  return out;
}

PlainBlock plain(const facet_block_q8_0& b, int) {
  PlainBlock out{};
  fill(
      out, [&](int i) { return b.qs[i]; }, facet_f16_to_f32(b.d), 0);
  return out;
}

PlainBlock plain(const facet_block_iq4_nl& b, int) {
  PlainBlock out{};
  fill(
      out, [&](int i) { return facet_iq4_values[nibble(b.qs, i)]; }, facet_f16_to_f32(b.d), 0);
  return out;
}

// Of a block of 256 elements, the 32 from 32 g on.
PlainBlock plain(const facet_block_iq4_xs& b, int g) {
  PlainBlock out{};
  const float d = facet_f16_to_f32(b.d) * static_cast<float>(facet_iq4_xs_scale(&b, g));
  fill(
      out, [&](int i) { return facet_iq4_values[nibble(b.qs + 16 * g, i)]; }, d, 0);
  return out;
}

PlainBlock plain(const facet_block_q2_k& b, int g) {
  PlainBlock out{};
  fill(
      out, [&](int i) { return facet_two_bits(b.qs, 32 * g + i); }, 0, 0);
  for (int h = 0; h < 2; ++h) {
    const int both = b.scales[2 * g + h];
    out.d[h] = facet_f16_to_f32(b.d) * static_cast<float>(both & 15);
    out.m[h] = -(facet_f16_to_f32(b.dmin) * static_cast<float>(both >> 4));
  }
  return out;
}

PlainBlock plain(const facet_block_q3_k& b, int g) {
  PlainBlock out{};
  auto element = [&](int i) {
    return facet_two_bits(b.qs, 32 * g + i) - ((b.hmask[i] >> g & 1) != 0 ? 0 : 4);
  };
  fill(out, element, 0, 0);
  for (int h = 0; h < 2; ++h) {
    out.d[h] = facet_f16_to_f32(b.d) * static_cast<float>(facet_q3_k_scale(b.scales, 2 * g + h));
  }
  return out;
}

// Q4_K and Q5_K.
template <typename Block>
void fill_q4_k(PlainBlock& out, const Block& b, int g, const auto& element) {
  int scale, minimum;
  facet_q4_k_scale(b.scales, g, &scale, &minimum);
  fill(out, element, facet_f16_to_f32(b.d) * static_cast<float>(scale),
       -(facet_f16_to_f32(b.dmin) * static_cast<float>(minimum)));
}

PlainBlock plain(const facet_block_q4_k& b, int g) {
  PlainBlock out{};
  fill_q4_k(out, b, g, [&](int i) { return b.qs[g / 2 * 32 + i] >> (g % 2 * 4) & 15; });
  return out;
}

PlainBlock plain(const facet_block_q5_k& b, int g) {
  PlainBlock out{};
  fill_q4_k(out, b, g,
            [&](int i) { return (b.qs[g / 2 * 32 + i] >> (g % 2 * 4) & 15) | (b.qh[i] >> g & 1) << 4; });
  return out;
}

PlainBlock plain(const facet_block_q6_k& b, int g) {
  PlainBlock out{};
  auto element = [&](int i) {
    const int at = 32 * g + i, low = b.ql[at / 128 * 64 + at % 64] >> (at % 128 / 64 * 4) & 15;
    return (low | facet_two_bits(b.qh, at) << 4) - 32;
  };
  fill(out, element, 0, 0);
  for (int h = 0; h < 2; ++h) out.d[h] = facet_f16_to_f32(b.d) * static_cast<float>(b.scales[2 * g + h]);
  return out;
}

template <typename Block>
PlainBlock plain_of(const uint8_t* row, uint32_t number, uint32_t blocks) {
  return plain(reinterpret_cast<const Block*>(row)[number / blocks], static_cast<int>(number % blocks));
}

}  // namespace

PlainFormat plain_format(uint32_t type) {
  switch (type) {
    case FACET_TYPE_Q2_K:
      return {true, true};
    case FACET_TYPE_Q3_K:
    case FACET_TYPE_Q6_K:
      return {true, false};
    case FACET_TYPE_Q4_1:
    case FACET_TYPE_Q5_1:
    case FACET_TYPE_Q4_K:
    case FACET_TYPE_Q5_K:
      return {false, true};
  }
  return {false, false};
}

PlainBlock plain_block(uint32_t type, const uint8_t* row, uint32_t number) {
  switch (type) {
    case FACET_TYPE_Q4_0:
      return plain_of<facet_block_q4_0>(row, number, 1);
    case FACET_TYPE_Q4_1:
      return plain_of<facet_block_q4_1>(row, number, 1);
    case FACET_TYPE_Q5_0:
      return plain_of<facet_block_q5_0>(row, number, 1);
    case FACET_TYPE_Q5_1:
      return plain_of<facet_block_q5_1>(row, number, 1);
    case FACET_TYPE_Q8_0:
      return plain_of<facet_block_q8_0>(row, number, 1);
    case FACET_TYPE_IQ4_NL:
      return plain_of<facet_block_iq4_nl>(row, number, 1);
    case FACET_TYPE_IQ4_XS:
      return plain_of<facet_block_iq4_xs>(row, number, 8);
    case FACET_TYPE_Q2_K:
      return plain_of<facet_block_q2_k>(row, number, 8);
    case FACET_TYPE_Q3_K:
      return plain_of<facet_block_q3_k>(row, number, 8);
    case FACET_TYPE_Q4_K:
      return plain_of<facet_block_q4_k>(row, number, 8);
    case FACET_TYPE_Q5_K:
      return plain_of<facet_block_q5_k>(row, number, 8);
    case FACET_TYPE_Q6_K:
      return plain_of<facet_block_q6_k>(row, number, 8);
  }
  return {};
}

}  // namespace facet::cpu
