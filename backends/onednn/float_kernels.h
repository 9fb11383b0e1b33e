// The row kernels of kernels.h over lanes (lanes.h): norms, rotations, activations, quantisation.
//
// In an unnamed namespace because files with different instruction sets include it.
#pragma once

#include "backends/onednn/kernels.h"
#include "backends/onednn/lanes.h"

namespace facet::cpu {
namespace {

// out[i] = f(x vector, ...) for n elements; `f` gets loads of 8 at offset i, the last ones padded with zeros.
template <typename L, typename F>
inline void map(size_t n, float* out, const F& f, const float* x) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) L::store(out + i, f(L::load(x + i)));
  if (i < n) L::store_first(out + i, n - i, f(L::load_first(x + i, n - i)));
}

template <typename L, typename F>
inline void map(size_t n, float* out, const F& f, const float* x, const float* y) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) L::store(out + i, f(L::load(x + i), L::load(y + i)));
  if (i < n) L::store_first(out + i, n - i, f(L::load_first(x + i, n - i), L::load_first(y + i, n - i)));
}

template <typename L>
void add(const float* x, const float* y, size_t n, float* out) {
  map<L>(
      n, out, [](auto a, auto b) { return L::add(a, b); }, x, y);
}

template <typename L>
void mul(const float* x, const float* y, size_t n, float* out) {
  map<L>(
      n, out, [](auto a, auto b) { return L::mul(a, b); }, x, y);
}

template <typename L>
void scale(const float* x, float factor, size_t n, float* out) {
  map<L>(
      n, out, [&](auto a) { return L::mul(a, L::set(factor)); }, x);
}

template <typename L>
void add_scaled(const float* x, float factor, size_t n, float* out) {
  map<L>(
      n, out, [&](auto a, auto b) { return L::fma(factor, a, b); }, x, out);
}

template <typename L>
void soft_cap(const float* x, float cap, size_t n, float* out) {
  map<L>(
      n, out, [&](auto a) { return L::mul(L::set(cap), hyperbolic_tangent<L>(L::div(a, L::set(cap)))); }, x);
}

// What is smaller than this in magnitude is taken for zero before it is multiplied with weights, whose scales
// may be as small as 2^-24: the CPU takes a hundred times as long over a product that is denormal. A gate
// that is shut leaves many such values.
constexpr float kNothing = 0x1p-80f;

// 0.5 x (1 + tanh u) = x / (1 + e^(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3); zero below kNothing.
template <typename L>
void gelu_gated(const float* x, const float* y, size_t n, float* out) {
  map<L>(
      n, out,
      [](auto a, auto b) {
        auto slope = L::fma(-0.0713548162726f, L::mul(a, a), L::set(-1.59576912161f));
        auto gelu = L::div(a, L::add(L::set(1.0f), exponential<L>(L::mul(a, slope))));
        const auto gated = L::mul(gelu, b);
        return L::where_below(gated, kNothing, L::set(0.0f), gated);
      },
      x, y);
}

// Four times 8 lanes, added pairwise, then reduced.
template <typename L>
float sum_of_squares(const float* x, uint32_t n) {
  typename L::V sums[4] = {L::set(0.0f), L::set(0.0f), L::set(0.0f), L::set(0.0f)};
  uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    for (int k = 0; k < 4; ++k) {
      auto v = L::load(x + i + 8 * k);
      sums[k] = L::fma(v, v, sums[k]);
    }
  }
  for (int k = 0; i < n; i += 8, ++k) {
    auto v = L::load_first(x + i, n - i < 8 ? n - i : 8);
    sums[k] = L::fma(v, v, sums[k]);
  }
  return L::reduce(L::add(L::add(sums[0], sums[1]), L::add(sums[2], sums[3])));
}

template <typename L>
void rms_norm(const float* x, const float* w, uint32_t segment, uint32_t segments, float eps, float* out) {
  for (uint32_t s = 0; s < segments; ++s, x += segment, out += segment) {
    float mean = sum_of_squares<L>(x, segment) / static_cast<float>(segment);
    float factor = 1.0f / std::sqrt(mean + eps);
    if (w == nullptr) {
      scale<L>(x, factor, segment, out);
    } else {
      map<L>(
          segment, out, [&](auto a, auto b) { return L::mul(L::mul(a, L::set(factor)), b); }, x, w);
    }
  }
}

template <typename L>
void rope(const float* x, const float* cos, const float* sin, uint32_t head_dim, uint32_t n_rot, float* out) {
  uint32_t half = n_rot / 2;
  for (uint32_t i = 0; i < half; i += 8) {
    uint32_t n = half - i < 8 ? half - i : 8;
    auto a = L::load_first(x + i, n), b = L::load_first(x + half + i, n);
    auto c = L::load_first(cos + i, n), s = L::load_first(sin + i, n);
    L::store_first(out + i, n, L::fma(a, c, L::sub(L::set(0.0f), L::mul(b, s))));
    L::store_first(out + half + i, n, L::fma(a, s, L::mul(b, c)));
  }
  for (uint32_t i = n_rot; i < head_dim; ++i) out[i] = x[i];
}

template <typename L>
void to_half(const float* x, size_t n, uint16_t* out) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) L::store_half(out + i, L::load(x + i));
  for (; i < n; ++i) out[i] = facet_f32_to_f16(x[i]);
}

// The scale of values up to the magnitude with these bits, and the factor that brings them to -127..127.
struct Quantum {
  float scale, factor;

  explicit Quantum(uint32_t bits) {
    float greatest = facet_bits_to_f32(bits);
    bool finite = bits < 0x7f800000u;
    bool nothing = greatest < kNothing;
    scale = nothing ? 0.0f : greatest / 127.0f;
    factor = nothing || !finite ? 0.0f : 127.0f / greatest;
  }
};

template <typename L>
void quantise(const float* x, const Quantum& quantum, int8_t* q) {
  if (quantum.factor == 0.0f) {
    std::memset(q, 0, kBlock);
  } else {
    L::round_to_int8(x, quantum.factor, q);
  }
}

template <typename L>
void to_q8_0(const float* x, size_t n, facet_block_q8_0* out) {
  for (size_t i = 0; i < n; i += kBlock, ++out) {
    Quantum quantum(L::greatest_magnitude(x + i, 4));
    out->d = facet_f32_to_f16(quantum.scale);
    if (out->d >= 0x7c00u) out->d = 0x7e00u;
    if (out->d == 0 || out->d == 0x7e00u) quantum.factor = 0.0f;
    quantise<L>(x + i, quantum, out->qs);
  }
}

inline int sum_of(const int8_t* q) {
  int sum = 0;
  for (int i = 0; i < 16; ++i) sum += q[i];
  return sum;
}

template <typename L>
void quantise_row(const float* x, uint32_t width, std::byte* out) {
  const ActRow row(ActKind::kBlocks, width);
  auto* q = reinterpret_cast<int8_t*>(out);
  auto* scales = reinterpret_cast<float*>(out + row.scales);
  auto* sums = reinterpret_cast<int32_t*>(out + row.sums);
  auto* scaled_sums = reinterpret_cast<float*>(out + row.scaled_sums);
  auto* half_sums = reinterpret_cast<int32_t*>(out + row.half_sums);
  for (uint32_t b = 0; b < width / kBlock; ++b, x += kBlock, q += kBlock) {
    const Quantum quantum(L::greatest_magnitude(x, 4));
    quantise<L>(x, quantum, q);
    const int first = sum_of(q), second = sum_of(q + 16);
    scales[b] = quantum.scale;
    sums[b] = -(first + second);
    scaled_sums[b] = quantum.scale * static_cast<float>(first + second);
    half_sums[2 * b] = -first;
    half_sums[2 * b + 1] = -second;
  }
}

}  // namespace
}  // namespace facet::cpu
