// The natural logarithm from additions, multiplications and divisions alone. The C library's may use a fused
// multiply-add where the processor has one, so its last bit depends on the machine; this one's does not.
#pragma once

#include <bit>
#include <cstdint>

namespace facet::sampling {

// `x` is positive, finite and normal. Relative error below 1e-14, absolute error near 1 below 1e-15.
inline double natural_log(double x) {
  constexpr double kLn2 = 0.69314718055994530942;
  constexpr double kSqrt2 = 1.41421356237309504880;
  const uint64_t bits = std::bit_cast<uint64_t>(x);
  int exponent = int(bits >> 52) - 1023;
  double mantissa = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFF) | 0x3FF0000000000000);
  if (mantissa > kSqrt2) {
    mantissa *= 0.5;
    ++exponent;
  }
  // ln m = 2 artanh s = 2 (s + s^3 / 3 + s^5 / 5 + ...), |s| < 0.172
  const double s = (mantissa - 1) / (mantissa + 1);
  const double square = s * s;
  double sum = 0;
  for (int power = 21; power >= 1; power -= 2) sum = sum * square + 1.0 / power;
  return exponent * kLn2 + 2 * s * sum;
}

}  // namespace facet::sampling
