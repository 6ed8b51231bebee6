// Exponential, logarithm, sigmoid and hyperbolic tangent from correctly rounded operations: the bits of the cpu executor.
//
// Nothing fuses here (--fmad=false). The polynomials are those of Cephes (expf, logf, tanhf; Moshier 1992), as in
// native/cpu/kernels/transcendental.h, whose operations these are one by one.
#pragma once

#include <cmath>

#include "../../noise/philox.h"
#include "../gpu.h"

namespace langevin {
namespace cuda {

using noise::bitsOf;
using noise::fromBits;

__device__ inline float atLeast(float low, float x) { return x < low ? low : x; }
__device__ inline float atMost(float high, float x) { return x > high ? high : x; }
__device__ inline float magnitude(float x) { return fromBits(bitsOf(x) & 0x7FFFFFFFu); }
__device__ inline float withSignOf(float x, float sign) { return fromBits(bitsOf(x) | (bitsOf(sign) & 0x80000000u)); }

constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;

__device__ inline float powerOfTwo(uint32_t exponent) { return fromBits((exponent + 127u) << 23); }

// e^x. Infinity above 88.72, subnormal below -87.33, 0 below -103.97; NaN stays NaN.
__device__ inline float exponential(float given) {
  const float x = atMost(89.0f, atLeast(-105.0f, given));
  const float magic = 12582912.0f;  // 1.5 2^23: adding it rounds to an integer, which stays in the low bits
  const float shifted = x * 1.44269504f + magic;
  const float k = shifted - magic;
  const float r = x - k * kLn2High - k * kLn2Low;
  float p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float y = (p * (r * r) + r) + 1.0f;
  // Two factors, since 2^128 and 2^-149 are no normal numbers; the first product is exact.
  const uint32_t exponent = bitsOf(shifted) - bitsOf(magic);
  const uint32_t half = static_cast<uint32_t>(static_cast<int32_t>(exponent) >> 1);
  return y * powerOfTwo(half) * powerOfTwo(exponent - half);
}

// Natural logarithm. -Infinity at 0, NaN below.
__device__ inline float logarithm(float x) {
  const bool subnormal = x < 1.17549435e-38f;
  const uint32_t bits = bitsOf(subnormal ? x * 8388608.0f : x);
  const float significand = fromBits((bits & 0x007FFFFFu) | 0x3F800000u);  // in [1, 2)
  const bool upper = significand > 1.41421356f;
  const float f = (upper ? significand * 0.5f : significand) - 1.0f;
  const float k = static_cast<float>(static_cast<int32_t>((bits >> 23) & 0xFFu) - 127 - (subnormal ? 23 : 0) + (upper ? 1 : 0));
  const float z = f * f;
  float p = f * 7.0376836292e-2f + -1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f + -1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f + -1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f + -2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float y = f * z * p;
  y = y + k * kLn2Low;
  y = y - z * 0.5f;
  const float result = (f + y) + k * kLn2High;
  const float infinity = fromBits(0x7F800000u);
  if (x == 0.0f) return -infinity;
  if (x < 0.0f) return fromBits(0x7FC00000u);
  return x < infinity ? result : x;  // Infinity and NaN as they are
}

// 1 / (1 + e^-x) from the exponential that cannot overflow, and 1 minus it without cancellation.
struct SigmoidPair {
  float value, complement;
};
__device__ inline SigmoidPair sigmoidPair(float x) {
  const float e = exponential(-magnitude(x)), inverse = 1.0f / (1.0f + e), other = e * inverse;
  return x < 0.0f ? SigmoidPair{other, inverse} : SigmoidPair{inverse, other};
}
__device__ inline float sigmoidOf(float x) {
  const float e = exponential(-magnitude(x));
  return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

// Relative error of a few units in the last place down to 0; exactly 1 in magnitude beyond 9.01.
__device__ inline float hyperbolicTangent(float x) {
  const float size = magnitude(x), z = x * x;
  float p = z * -5.70498872745e-3f + 2.06390887954e-2f;
  p = p * z + -5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z + -3.33332819422e-1f;
  const float small = p * z * size + size;
  const float large = 1.0f - 2.0f / (exponential(size + size) + 1.0f);
  return withSignOf(size < 0.625f ? small : large, x);
}

// The probability of less than x under the normal distribution; beyond +-15 that is 0 or 1 in float32. CUDA's erfcf differs from
// other executors' in the last bits. What rounding leaves of z = -x / sqrt(2) counts 2 z-fold in the tail, so that it is put back
// by the derivative.
__device__ inline float probabilityBelow(float x) {
  constexpr float high = -0.707106781f, low = -1.21016175e-8f;  // -1 / sqrt(2)
  const float z = x * high, rest = noise::fused(x, low, noise::fused(x, high, -z));
  const float tail = erfcf(z), slope = -1.12837917f * exponential(-(z * z));
  return 0.5f * (magnitude(z) < 11.0f ? tail + rest * slope : tail);
}

__device__ inline float geluOf(float x) { return atLeast(-15.0f, x) * probabilityBelow(x); }

}  // namespace cuda
}  // namespace langevin
