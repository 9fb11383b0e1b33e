// Eight float32 lanes, as plain code and as AVX2, with the same operations and the same bits.
//
// A kernel that is written once over `L` (PortableLanes, Avx2Lanes, NeonLanes) computes the same in all.
// Operations round to nearest even, once each; fma rounds once. In an unnamed namespace because files with
// different instruction sets include it.
#pragma once

#include <facet/blocks.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace facet::cpu {
namespace {

// A bfloat16, as a type of its own beside the float16 that uint16_t stands for.
struct Brain {
  uint16_t bits;
};

// L::Columns has set, load, fma and store for kCount columns side by side. The vector sets also have what
// float_matmul.h reads weights with: Brain, and in L::Columns lanes of kCount / 8 rows side by side, which
// join() those of several rows, or repeat() the same ones.
struct PortableLanes {
  using Columns = PortableLanes;
  static constexpr uint32_t kCount = 8;
  struct V {
    float v[8];
  };

  template <typename F>
  static V each(const F& f) {
    V out;
    for (int i = 0; i < 8; ++i) out.v[i] = f(i);
    return out;
  }

  static V set(float x) {
    return each([&](int) { return x; });
  }
  static V load(const float* p) {
    return each([&](int i) { return p[i]; });
  }
  static V load(const uint16_t* p) {
    return each([&](int i) { return facet_f16_to_f32(p[i]); });
  }
  static V load(const int8_t* p) {
    return each([&](int i) { return static_cast<float>(p[i]); });
  }
  // The first n; zeros after them. n <= 8.
  static V load_first(const float* p, size_t n) {
    return each([&](int i) { return static_cast<size_t>(i) < n ? p[i] : 0.0f; });
  }
  static V load_first(const uint16_t* p, size_t n) {
    return each([&](int i) { return static_cast<size_t>(i) < n ? facet_f16_to_f32(p[i]) : 0.0f; });
  }
  static void store(float* p, V a) { std::memcpy(p, a.v, sizeof a.v); }
  static void store_first(float* p, size_t n, V a) {
    for (size_t i = 0; i < n; ++i) p[i] = a.v[i];
  }
  static void store_half(uint16_t* p, V a) {
    for (int i = 0; i < 8; ++i) p[i] = facet_f32_to_f16(a.v[i]);
  }

  static V add(V a, V b) {
    return each([&](int i) { return a.v[i] + b.v[i]; });
  }
  static V sub(V a, V b) {
    return each([&](int i) { return a.v[i] - b.v[i]; });
  }
  static V mul(V a, V b) {
    return each([&](int i) { return a.v[i] * b.v[i]; });
  }
  static V div(V a, V b) {
    return each([&](int i) { return a.v[i] / b.v[i]; });
  }
  static V fma(V a, V b, V c) {
    return each([&](int i) { return std::fma(a.v[i], b.v[i], c.v[i]); });
  }
  static V fma(float a, V b, V c) {
    return each([&](int i) { return std::fma(a, b.v[i], c.v[i]); });
  }
  // b if either is a NaN.
  static V max(V a, V b) {
    return each([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
  }
  static V min(V a, V b) {
    return each([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
  }
  static V abs(V a) {
    return each([&](int i) { return facet_bits_to_f32(facet_f32_to_bits(a.v[i]) & 0x7fffffffu); });
  }
  // a where |x| < limit, else b.
  static V where_below(V x, float limit, V a, V b) {
    V magnitude = abs(x);
    return each([&](int i) { return magnitude.v[i] < limit ? a.v[i] : b.v[i]; });
  }
  // a * 2^k, where the low bits of t (1.5 * 2^23 + k, -126 <= k <= 127) hold k.
  static V times_power(V a, V t) {
    return each(
        [&](int i) { return a.v[i] * facet_bits_to_f32((facet_f32_to_bits(t.v[i]) << 23) + 0x3f800000u); });
  }
  static float reduce(V t) {
    return ((t.v[0] + t.v[2]) + (t.v[1] + t.v[3])) + ((t.v[4] + t.v[6]) + (t.v[5] + t.v[7]));
  }
  static float first(V a) { return a.v[0]; }
  // The greatest magnitude as bits; that of a NaN is greater than any number's.
  static uint32_t greatest_magnitude(const float* p, size_t vectors) {
    uint32_t greatest = 0;
    for (size_t i = 0; i < 8 * vectors; ++i) {
      uint32_t bits = facet_f32_to_bits(p[i]) & 0x7fffffffu;
      greatest = bits > greatest ? bits : greatest;
    }
    return greatest;
  }
  // 32 floats times factor, below 2^21 in magnitude, to the nearest integers, ties to even, as int8.
  static void round_to_int8(const float* p, float factor, int8_t* q) {
    for (int i = 0; i < 32; ++i) {
      float shifted = p[i] * factor + 0x1.8p23f;
      q[i] = static_cast<int8_t>(static_cast<int32_t>(facet_f32_to_bits(shifted) - 0x4b400000u));
    }
  }
};

#if defined(__AVX2__)
struct Avx2Lanes {
  using Columns = Avx2Lanes;
  static constexpr uint32_t kCount = 8;
  using V = __m256;

  static __m256i mask(size_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }

  static V set(float x) { return _mm256_set1_ps(x); }
  static V load(const float* p) { return _mm256_loadu_ps(p); }
  static V load(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static V load(const Brain* p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  static V load(const int8_t* p) {
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
  }
  static V load_first(const float* p, size_t n) { return _mm256_maskload_ps(p, mask(n)); }
  template <typename T>
  static V load_first(const T* p, size_t n) {
    T copy[8] = {};
    for (size_t i = 0; i < n; ++i) copy[i] = p[i];
    return load(copy);
  }
  static void store(float* p, V a) { _mm256_storeu_ps(p, a); }
  static void store_first(float* p, size_t n, V a) { _mm256_maskstore_ps(p, mask(n), a); }
  static void store_half(uint16_t* p, V a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
  }

  static V add(V a, V b) { return _mm256_add_ps(a, b); }
  static V sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm256_mul_ps(a, b); }
  static V div(V a, V b) { return _mm256_div_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm256_fmadd_ps(a, b, c); }
  static V fma(float a, V b, V c) { return _mm256_fmadd_ps(_mm256_set1_ps(a), b, c); }
  static V max(V a, V b) { return _mm256_max_ps(a, b); }
  static V min(V a, V b) { return _mm256_min_ps(a, b); }
  static V abs(V a) { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }
  static V where_below(V x, float limit, V a, V b) {
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(abs(x), _mm256_set1_ps(limit), _CMP_LT_OQ));
  }
  static V times_power(V a, V t) {
    __m256i power =
        _mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3f800000));
    return _mm256_mul_ps(a, _mm256_castsi256_ps(power));
  }
  static float reduce(V t) {
    __m256 a = _mm256_add_ps(t, _mm256_permute_ps(t, 0x4e));
    __m256 b = _mm256_add_ps(a, _mm256_permute_ps(a, 0xb1));
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1)));
  }
  // reduce() of four: [4, 8] to [4].
  static void reduce_four(const float* p, float* out) {
    const V a = load(p), b = load(p + 8), c = load(p + 16), d = load(p + 24);
    const V ab = add(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const V cd = add(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const V low = _mm256_castpd_ps(_mm256_unpacklo_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
    const V high = _mm256_castpd_ps(_mm256_unpackhi_pd(_mm256_castps_pd(ab), _mm256_castps_pd(cd)));
    const V all = add(low, high);
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1)));
  }
  static V join(const V* rows) { return rows[0]; }
  static V repeat(V row) { return row; }
  static float first(V a) { return _mm256_cvtss_f32(a); }
  static uint32_t greatest_magnitude(const float* p, size_t vectors) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    __m256i greatest = _mm256_setzero_si256();
    for (size_t i = 0; i < vectors; ++i) {
      __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 8 * i));
      greatest = _mm256_max_epi32(greatest, _mm256_and_si256(bits, magnitude));
    }
    __m128i four = _mm_max_epi32(_mm256_castsi256_si128(greatest), _mm256_extracti128_si256(greatest, 1));
    __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xb1))));
  }
  static void round_to_int8(const float* p, float factor, int8_t* q) {
    __m256i v[4];
    for (int i = 0; i < 4; ++i) {
      v[i] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(p + 8 * i), _mm256_set1_ps(factor)));
    }
    __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), _mm256_permutevar8x32_epi32(bytes, order));
  }
};
#endif

#if defined(__AVX512F__)
struct Avx512Columns {
  static constexpr uint32_t kCount = 16;
  using V = __m512;

  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static V load(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static V load(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store(float* p, V a) { _mm512_storeu_ps(p, a); }
  static V set(float x) { return _mm512_set1_ps(x); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V fma(float a, V b, V c) { return _mm512_fmadd_ps(_mm512_set1_ps(a), b, c); }
  static V join(const __m256* rows) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(rows[0]), rows[1], 1);
  }
  static V repeat(__m256 row) { return _mm512_broadcast_f32x8(row); }
};

struct Avx512Lanes : Avx2Lanes {
  using Columns = Avx512Columns;
};
#endif

// e^x for x in -87..88, to 1e-7 of its value; as at the nearer end outside; NaN for NaN.
template <typename L>
inline typename L::V exponential(typename L::V x) {
  using V = typename L::V;
  x = L::min(L::set(88.0f), L::max(L::set(-87.0f), x));
  const V shift = L::set(0x1.8p23f);
  V t = L::fma(1.44269504088896341f, x, shift);
  V k = L::sub(t, shift);
  V r = L::fma(-0.693359375f, k, x);
  r = L::fma(2.12194440e-4f, k, r);
  V p = L::set(1.9875691500e-4f);
  p = L::fma(p, r, L::set(1.3981999507e-3f));
  p = L::fma(p, r, L::set(8.3334519073e-3f));
  p = L::fma(p, r, L::set(4.1665795894e-2f));
  p = L::fma(p, r, L::set(1.6666665459e-1f));
  p = L::fma(p, r, L::set(5.0000001201e-1f));
  V y = L::add(L::fma(p, L::mul(r, r), r), L::set(1.0f));
  return L::times_power(y, t);
}

// tanh x to 2e-7 of its value.
template <typename L>
inline typename L::V hyperbolic_tangent(typename L::V x) {
  using V = typename L::V;
  V z = L::mul(x, x);
  V p = L::set(-5.70498872745e-3f);
  p = L::fma(p, z, L::set(2.06390887954e-2f));
  p = L::fma(p, z, L::set(-5.37397155531e-2f));
  p = L::fma(p, z, L::set(1.33314422036e-1f));
  p = L::fma(p, z, L::set(-3.33332819422e-1f));
  V small = L::fma(L::mul(p, z), x, x);
  V e = exponential<L>(L::mul(L::set(2.0f), L::min(L::set(12.0f), L::max(L::set(-12.0f), x))));
  V large = L::sub(L::set(1.0f), L::div(L::set(2.0f), L::add(e, L::set(1.0f))));
  return L::where_below(x, 0.625f, small, large);
}

}  // namespace
}  // namespace facet::cpu
