// Exponential, logarithm, sigmoid and hyperbolic tangent on vectors, from correctly rounded operations only.
//
// Nothing fuses here, so every instruction set gives the same bits. The polynomials are those of Cephes (expf, logf,
// tanhf; Moshier 1992) on the arguments that Cody and Waite's two-part ln 2 leaves.
#pragma once

#include "../simd.h"

namespace langevin {
namespace LANGEVIN_ISA {

// ln 2 in two parts: the first has 9 bits, so its product with an exponent is exact.
constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

// 2^exponent; exponents that are not a float's give some value (unsigned, so that none is undefined).
LANGEVIN_SIMD V powerOfTwo(VI exponent) { return fromBits((VI)(((VU)exponent + 127) << 23)); }

// e^x. Infinity above 88.72, subnormal below -87.33, 0 below -103.97; NaN stays NaN.
LANGEVIN_SIMD V exponential(V x) {
  x = minimum(broadcast(89.0f), maximum(broadcast(-105.0f), x));
  const V magic = broadcast(12582912.0f);  // 1.5 2^23: adding it rounds to an integer, which stays in the low bits
  const V shifted = x * 1.44269504f + magic;
  const V k = shifted - magic;
  const V r = x - k * kLn2High - k * kLn2Low;
  V p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const V y = (p * (r * r) + r) + 1.0f;
  // Two factors, since 2^128 and 2^-149 are no normal numbers; the first product is exact.
  const VI exponent = (VI)((VU)shifted - (VU)magic), half = exponent >> 1;
  return y * powerOfTwo(half) * powerOfTwo((VI)((VU)exponent - (VU)half));
}

// Natural logarithm. -Infinity at 0, NaN below.
LANGEVIN_SIMD V logarithm(V x) {
  const VI subnormal = (VI)(x < broadcast(1.17549435e-38f));
  const V scaled = select(subnormal, x * 8388608.0f, x);
  const VI bits = bitsOf(scaled);
  const V significand = fromBits((bits & 0x007FFFFF) | 0x3F800000);  // in [1, 2)
  const VI upper = (VI)(significand > broadcast(1.41421356f));
  const V f = select(upper, significand * 0.5f, significand) - 1.0f;
  const V k = toFloat(((bits >> 23) & 0xFF) - 127 - (subnormal & 23) - upper);
  const V z = f * f;
  V p = f * 7.0376836292e-2f + -1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f + -1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f + -1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f + -2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  V y = f * z * p;
  y = y + k * kLn2Low;
  y = y - z * 0.5f;
  V result = (f + y) + k * kLn2High;
  const V infinity = broadcast(__builtin_inff());
  result = select((VI)(x == zero()), -infinity, result);
  result = select((VI)(x < zero()), broadcast(__builtin_nanf("")), result);
  return select((VI)(x < infinity), result, x + zero());  // Infinity and NaN as they are
}

LANGEVIN_SIMD V magnitude(V x) { return fromBits(bitsOf(x) & 0x7FFFFFFF); }
LANGEVIN_SIMD V withSignOf(V x, V sign) { return fromBits(bitsOf(x) | (bitsOf(sign) & broadcastInt(INT32_MIN))); }

// 1 / (1 + e^-x) from the exponential that cannot overflow, and 1 minus it without cancellation.
struct Sigmoid2 {
  V value, complement;
};
LANGEVIN_SIMD Sigmoid2 sigmoidPair(V x) {
  const V one = broadcast(1.0f), e = exponential(-magnitude(x));
  const V inverse = one / (one + e), other = e * inverse;
  const VI negative = (VI)(x < zero());
  return Sigmoid2{select(negative, other, inverse), select(negative, inverse, other)};
}
LANGEVIN_SIMD V sigmoidOf(V x) {
  const V one = broadcast(1.0f), e = exponential(-magnitude(x));
  return select((VI)(x < zero()), e, one) / (one + e);
}

// Relative error of a few units in the last place down to 0; exactly 1 in magnitude beyond 9.01.
LANGEVIN_SIMD V hyperbolicTangent(V x) {
  const V one = broadcast(1.0f), size = magnitude(x), z = x * x;
  V p = z * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * z + -5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z + -3.33332819422e-1f;
  const V small = p * z * size + size;
  const V large = one - broadcast(2.0f) / (exponential(size + size) + one);
  return withSignOf(select((VI)(size < broadcast(0.625f)), small, large), x);
}

}  // namespace LANGEVIN_ISA
}  // namespace langevin
